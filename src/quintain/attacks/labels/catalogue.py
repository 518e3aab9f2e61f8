"""The registered attacks that ask for labels alone."""

from quintain.core.registry import Entry

CATALOGUE: tuple[Entry, ...] = ()
