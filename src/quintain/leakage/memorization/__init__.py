"""Memorization: how far a model knows random canaries better than others that it never saw."""
