"""Thin verbs over the library: parse, call, show."""
