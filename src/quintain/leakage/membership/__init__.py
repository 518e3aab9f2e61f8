"""Attacks that guess whether an example was trained on; one file each."""
