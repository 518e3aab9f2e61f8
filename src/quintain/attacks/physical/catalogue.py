"""The registered attacks that could be printed, projected or worn."""

from quintain.core.registry import Entry

CATALOGUE: tuple[Entry, ...] = ()
