"""Representations of per-example gradients: norms and weighted sums without building them.

Where that is possible.
"""
