"""Linear bounds: what a net computes lies above a linear function of its input, minimized over the threat."""
