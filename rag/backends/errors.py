"""What an index says when its files cannot be trusted."""


class Damaged(Exception):
    """An index folder is missing, truncated, altered or of another kind: quarantine it and rebuild from the database."""
