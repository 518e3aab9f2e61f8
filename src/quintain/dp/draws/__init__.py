"""Which records each batch holds, and how they reach the model."""
