"""Which attacks to run where the user named none: by what the model gives and what may be changed."""

from quintain.attacks.base import ACCESS, access_of
from quintain.core.errors import SettingError
from quintain.core.registry import Entry, entries
from quintain.models.protocol import Access

_FIRST: dict[Access, tuple[str, ...]] = {
    "gradients": ("quick", "apgd", "pgd"),
    "scores": ("square", "random-search"),
    "labels": ("hopskipjump", "rays", "cgba"),
}
"""The attack to run for what a model gives, the best first."""

_CURVE = ("fmn", "ddn", "fab")
"""Searches for the smallest change, by gradients: one run gives the accuracy at every size."""


def chosen(access: Access, kind: str) -> tuple[str, ...]:
    """Names of registered attacks for a model that gives ``access``, on threats of a kind.

    With gradients, a search for the smallest change comes with the first choice, so that the curve over sizes is more than a staircase.

    Raises:
        SettingError: If nothing that is registered serves both.
    """
    able = {name: entry for name, entry in entries("attack").items() if kind in entry.fact("supports").split() and _may(entry, access)}
    for level in reversed(ACCESS[: ACCESS.index(access) + 1]):
        same = [name for name, entry in able.items() if access_of(entry.fact("access")) == level]
        best = next((name for name in (*_FIRST[level], *same) if name in same), None)
        if best:
            curve = [name for name in _CURVE if name in same and name != best]
            return (best, *curve[:1])
    raise SettingError(f"no registered attack serves {kind} on a model that gives {access}; 'quintain list attack' shows what there is")


def _may(entry: Entry, access: Access) -> bool:
    return ACCESS.index(access_of(entry.fact("access"))) <= ACCESS.index(access)
