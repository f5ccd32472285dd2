"""Thinking that a server leaves in the answer's text, between marks, is taken out of it as it comes."""

import re

_OPEN = re.compile(r"\s*<(think|thinking|reasoning)>")
_BEGINNINGS = tuple(f"<{word}>" for word in ("think", "thinking", "reasoning"))


class ThinkingFilter:
    """Splits pieces of text into thinking and answer. Only what an answer begins with counts: later marks are text like any other."""

    def __init__(self) -> None:
        self._held = ""
        self._close = ""  # the mark that ends the thinking, while it lasts
        self._done = False

    def feed(self, piece: str) -> tuple[str, str]:
        """The thinking and the text that are certain after `piece`."""
        if self._done:
            return "", piece
        self._held += piece
        if not self._close:
            if opened := _OPEN.match(self._held):
                self._close = f"</{opened[1]}>"
                self._held = self._held[opened.end() :]
            elif any(beginning.startswith(self._held.lstrip()) for beginning in _BEGINNINGS):
                return "", ""  # may still become a mark
            else:
                return "", self._rest()
        thinking, mark, text = self._held.partition(self._close)
        if mark:
            self._done = True
            self._held = ""
            # The blank lines behind a mark belong to it; where they come later, the answer begins with them.
            return thinking, text.lstrip()
        keep = next((n for n in range(len(self._close) - 1, 0, -1) if thinking.endswith(self._close[:n])), 0)
        self._held = thinking[len(thinking) - keep :]
        return thinking[: len(thinking) - keep], ""

    def finish(self) -> tuple[str, str]:
        """What was held back, now that nothing follows."""
        return (self._held, "") if self._close and not self._done else ("", self._rest())

    def _rest(self) -> str:
        held, self._held, self._done = self._held, "", True
        return held
