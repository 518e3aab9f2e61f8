"""Model extraction: a copy of a model from its answers to public examples."""
