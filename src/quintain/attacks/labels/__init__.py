"""Attacks that ask a model for labels alone."""

from quintain.core.lazy import lazy_exports

HOMES: dict[str, str] = {}

__getattr__, __dir__ = lazy_exports(__name__, HOMES)
