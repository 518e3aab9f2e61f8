"""Random numbers that privacy rests on: keyed streams and exact discrete Gaussian noise."""
