"""Ensembles: attacks one after the other, each on the examples that are not yet broken."""
