"""Minimum-norm attacks: they seek the smallest successful perturbation."""
