"""The one answer that a server gets to whatever fails at a site."""

from flwr.app import Error

REFUSED = Error(code=6, reason="refused")
"""Flower would send the server the type and the text of an exception; 6 is its code for a mod's failed
precondition.
"""
