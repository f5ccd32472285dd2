"""The site: people, teams, sign-in, audit, health. Knows nothing of retrieval."""

__version__ = "0.1.0"
