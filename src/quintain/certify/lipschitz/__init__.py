"""Certificates by global Lipschitz constants."""
