"""Adaptive-attack wrappers: BPDA (approximate backward pass) and EOT (mean over random forward passes)."""
