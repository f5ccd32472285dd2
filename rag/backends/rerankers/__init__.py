"""Judges of passages by question: they read both together, which is slower than comparing vectors, and sees more."""
