"""The registered attacks that seek the smallest change."""

from quintain.core.registry import Entry

CATALOGUE: tuple[Entry, ...] = ()
