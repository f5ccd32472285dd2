"""What a question puts in double quotes: words that are wanted as they stand. Pure."""

import re

_MOST = 20
# Opening and closing marks as English, German, French, Scandinavian and East Asian texts set them. An inch mark pairs with the
# next one at worst, and a phrase that no passage holds is not insisted on.
_QUOTED = re.compile(r"[\"“”„«»]([^\"“”„«»]+)[\"“”«»]|「([^「」]+)」|『([^『』]+)』")


def quotations(question: str) -> tuple[str, ...]:
    """The quoted parts of `question` that hold a letter or a digit, in order; single quotes, which are apostrophes too, say nothing."""
    found = ("".join(match.groups("")).strip() for match in _QUOTED.finditer(question))
    return tuple(part for part in found if any(map(str.isalnum, part)))[:_MOST]
