"""Certificates: how much is certified, and how fast."""
