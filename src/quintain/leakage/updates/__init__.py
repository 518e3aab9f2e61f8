"""Attacks on what sites send: pictures behind updates and sums, and single updates behind sums."""
