"""Gradient attacks: they ascend the model's loss inside a threat."""
