"""Sections of the page, each of several results together."""
