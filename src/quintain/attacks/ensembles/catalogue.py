"""The registered attacks that combine others on the examples still standing."""

from quintain.core.registry import Entry

CATALOGUE: tuple[Entry, ...] = ()
