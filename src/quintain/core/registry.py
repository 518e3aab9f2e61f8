"""The registry maps names to module paths, so that what is registered is known without importing any of it.

Each part lists what it offers in a module of strings, its ``catalogue.py``; that of the attacks is generated
from their classes. Other packages add theirs through entry points of the groups ``quintain.attack``,
``quintain.certifier``, ``quintain.defense``, ``quintain.model`` and so on, named like the kinds below.
"""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from quintain.core.errors import ExecutionError, UnknownNameError

CATALOGUES = {
    "threat": "quintain.threats.catalogue",
    "model": "quintain.models.catalogue",
    "dataset": "quintain.data.catalogue",
    "attack": "quintain.attacks._index",
    "universal_attack": "quintain.attacks._index",
    "certifier": "quintain.certify.catalogue",
    "defense": "quintain.harden.catalogue",
    "mechanism": "quintain.dp.catalogue",
    "privacy_attack": "quintain.leakage.catalogue",
    "aggregation": "quintain.federated.catalogue",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered thing.

    Args:
        kind: What it is: a key of ``CATALOGUES``.
        name: What users type.
        import_path: Where it is: ``package.module:attribute``.
        summary: One line for ``quintain list``.
        guarantee: What its result may be taken for, and under what assumption; empty where nothing is
            guaranteed.
        facts: What the laws need to know, such as ``(("optimality_gap", "0.05"),)``.
        exemptions: Laws (``tests/laws``) that it is exempt from, each with its reason.
    """

    kind: str
    name: str
    import_path: str
    summary: str
    guarantee: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    exemptions: tuple[tuple[str, str], ...] = ()

    def load(self) -> Any:
        """Import what the entry names."""
        module, _, attribute = self.import_path.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ExecutionError(
                f"{self.kind} {self.name!r} is registered as {self.import_path!r}, which does not import: "
                f"{error}"
            ) from error

    def fact(self, key: str, default: str = "") -> str:
        """One of the facts."""
        return dict(self.facts).get(key, default)


@cache
def entries(kind: str) -> dict[str, Entry]:
    """All entries of a kind by name: the built-in ones, then those of other packages."""
    own: tuple[Entry, ...] = import_module(CATALOGUES[kind]).CATALOGUE
    found = {entry.name: entry for entry in own if entry.kind == kind}
    for point in entry_points(group=f"quintain.{kind}"):
        origin = point.dist.name if point.dist else "another package"
        found.setdefault(point.name, Entry(kind, point.name, point.value, f"from {origin}"))
    return found


def get_entry(kind: str, name: str) -> Entry:
    """Return the entry that is registered under a name.

    Raises:
        UnknownNameError: If there is none; the message suggests the nearest names, or says of what kind it
            is.
    """
    known = entries(kind)
    if name not in known:
        others = [other for other in CATALOGUES if name in entries(other)]
        raise UnknownNameError(kind, name, known, other_kinds=others)
    return known[name]
