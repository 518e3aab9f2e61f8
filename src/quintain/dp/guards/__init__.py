"""Guards around a private step: each refuses one way past the clip and the noise."""
