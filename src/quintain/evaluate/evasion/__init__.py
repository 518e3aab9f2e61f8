"""Attacks on a data set: their choice, the work in chunks, the merged results and the diagnostics."""
