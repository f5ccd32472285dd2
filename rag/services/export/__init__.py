"""Answers as files: one page of words first (pages.py), then a writer each for Markdown, Word and PDF."""
