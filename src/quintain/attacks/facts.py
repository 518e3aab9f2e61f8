"""What an attack's class says of itself, as an entry of the registry.

A class that has a ``summary`` is registered. Its entry is strings alone, so that it is known without
importing the class: ``quintain.attacks.index`` writes the entries of our own attacks into a file; those of
other packages are read from their classes, once something asks for them.
"""

import re
from collections.abc import Mapping
from inspect import getdoc, signature

from quintain.core.errors import ExecutionError
from quintain.core.registry import Entry, entries

WITNESS = "what it breaks is a witness that can be replayed; what it does not break may still be breakable"
MINIMUM_NORM = "what it breaks is a witness that can be replayed; no smaller change is ruled out"
ESTIMATE = "how often it succeeds is an estimate, for images and views like those that it was scored on"
"""What the result of an attack may be taken for, in the words of ``quintain list``."""


def attack_entries(kind: str = "attack") -> dict[str, Entry]:
    """Return the registered attacks with their facts, those of other packages included.

    An attack of another package that does not import is listed without facts; naming it raises.
    """
    return {name: entry if entry.facts else _read_facts(entry) for name, entry in entries(kind).items()}


def _read_facts(entry: Entry) -> Entry:
    try:
        attack = entry.load()
    except ExecutionError:
        return entry
    return entry_of(attack, entry.kind, entry.name) if hasattr(attack, "summary") else entry


def entry_of(attack: type, kind: str, name: str) -> Entry:
    """Return the entry of an attack's class under a name."""
    return Entry(
        kind,
        name,
        f"{attack.__module__}:{attack.__qualname__}",
        getattr(attack, "summary", ""),
        guarantee=guarantee_of(attack, kind),
        facts=tuple((key, value) for key, value in facts_of(attack) if value),
        exemptions=tuple(getattr(attack, "exemptions", {}).items()),
    )


def guarantee_of(attack: type, kind: str) -> str:
    """Return what an attack's result may be taken for."""
    if kind != "attack":
        return ESTIMATE
    return MINIMUM_NORM if getattr(attack, "minimum_norm", False) else WITNESS


def facts_of(attack: type) -> list[tuple[str, str]]:
    """Return an attack's class variables as strings; an empty one says that the default holds."""
    gaps: Mapping[str, float] = getattr(attack, "optimality_gap", {})
    return [
        ("supports", " ".join(getattr(attack, "supports", ()))),
        ("access", getattr(attack, "access", "gradients")),
        ("finds", "minimum-norm" if getattr(attack, "minimum_norm", False) else ""),
        ("targets", "" if getattr(attack, "supports_targets", True) else "no"),
        *(
            ("optimality_gap" if kind == "any" else f"optimality_gap:{kind}", f"{gap:g}")
            for kind, gap in gaps.items()
        ),
        ("test_settings", _settings(getattr(attack, "test_settings", {}))),
        ("gap_test_settings", _settings(getattr(attack, "gap_test_settings", {}))),
    ]


def _settings(settings: Mapping[str, float]) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.items())


def with_defaults(text: str, attack: type) -> str:
    """Put settings and their defaults in the place of their names in braces: ``{steps}`` becomes ```steps`
    (40)``.
    """
    return text.format_map(
        {name: f"`{name}` ({setting.default})" for name, setting in signature(attack).parameters.items()}
    )


def sources_of(attack: type) -> str:
    """Return where an attack was published, by its docstring: arXiv numbers, and in words what has none."""
    text = " ".join((getdoc(attack) or "").partition("Source:")[2].split()).rstrip(".")
    return ", ".join(
        number
        for part in text.split("; ")
        for number in re.findall(r"arXiv:(\d{4}\.\d{4,5})", part) or [part]
    )
