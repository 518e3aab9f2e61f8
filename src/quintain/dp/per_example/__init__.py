"""Representations of per-example gradients: their norms and weighted sums, without building them where
possible.
"""
