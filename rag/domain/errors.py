"""The two ways in which work can fail. The message of either is a sentence that the user may read."""


class RagError(Exception):
    """An expected failure whose `message` is safe to show: no paths, no document text, no stack."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Permanent(RagError):
    """Trying again with the same input cannot help: a broken file, a missing model, a refused request."""


class Protected(Permanent):
    """The file is encrypted, and the password is missing or wrong: it can be tried again with another."""


class Retryable(RagError):
    """The same call may succeed later: a busy model, a lost connection, a full disk."""


class Busy(Retryable):
    """A model's server has no room for another question and has not begun to answer: soon it may."""
