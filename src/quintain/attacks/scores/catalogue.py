"""The registered attacks that ask for scores alone."""

from quintain.core.registry import Entry

CATALOGUE: tuple[Entry, ...] = ()
