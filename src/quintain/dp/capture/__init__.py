"""Capture of per-example gradients by hooks while a module trains, and probes of whether examples mix."""
