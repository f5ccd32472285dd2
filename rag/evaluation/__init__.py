"""Measures what the product promises, on files and questions whose right results are known."""
