"""The two apps of a deployment; what they do is decided by each machine's own settings."""
