"""Decision-based attacks: they use predicted labels alone."""
