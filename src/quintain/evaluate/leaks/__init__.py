"""Leakage attacks on a model: one file for each goal says who guesses about what, and judges it."""
