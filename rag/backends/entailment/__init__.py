"""Judges of whether one text follows from another: for the sentences that rules leave undecided."""
