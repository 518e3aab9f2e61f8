"""Representations of per-example gradients: norms and weighted sums, where possible without building them."""
