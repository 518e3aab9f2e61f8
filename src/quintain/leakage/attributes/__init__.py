"""Attribute inference: a hidden part of an example from a model's answers for each of its values."""
