"""The registry maps names to module paths, so that what is registered is known without importing any of it.

A class describes itself by class variables, a function by ``declare``. From these ``quintain.core.index``
writes one module of strings for each package, its ``_index.py``, which is all that ``import quintain``,
``quintain list`` and the command line's help read. Other packages register theirs by entry points, in the
groups ``quintain.attack``, ``quintain.certifier`` and so on, one for each kind below; those are imported once
one of their facts is needed.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from inspect import signature
from typing import Any, TypeVar

from quintain.core.errors import ExecutionError, SettingError, UnknownNameError

Declared = TypeVar("Declared", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of things that can be registered, such as attacks.

    Args:
        package: The package of Quintain's own things of this kind.
        facts: Class variables that each may have beyond those in ``COMMON``, with their defaults; an entry
            stores only values that differ from the default.
    """

    package: str
    facts: Mapping[str, object] = field(default_factory=dict)


KINDS: Mapping[str, Kind] = {
    "threat": Kind(
        "quintain.threats",
        {
            "example": "",  # a spec that messages, tables and laws show or try
            "usual": "",  # of several sizes in one run, the spec that a report shows at its top
            "parametric": False,  # options in place of a size, such as color:brightness=0.2
            "has_size": True,
            "whole_sizes": False,  # the size is a count
            "images_only": False,
            "options": {},  # the form of each option's value, as in core.threat_checks
            "joins": False,  # its spec is made of the specs of other threats
        },
    ),
    "model": Kind("quintain.models"),
    # noun: what its examples are called, in the plural
    "dataset": Kind("quintain.data", {"is_public": False, "noun": ""}),
    "attack": Kind(
        "quintain.attacks",
        {  # the docstring of attacks.base.Attack says what these are
            "supports": (),
            "access": "",
            "minimum_norm": False,
            "supports_targets": True,
            "default_rank": 0,
            "is_reference": False,
            "is_ensemble": False,
            "strength": 0,
            "optimality_gap": {},
            "test_settings": {},
            "gap_test_settings": {},
        },
    ),
    "universal_attack": Kind("quintain.attacks", {"supports": (), "access": "", "test_settings": {}}),
    # the docstrings of certify.outcome.Certifier and harden.defense.Defense say what these are
    "certifier": Kind(
        "quintain.certify",
        {"supports": (), "example": "", "default_rank": 0, "subject": "model", "cost": "cheap"},
    ),
    "defense": Kind("quintain.harden", {"supports": (), "example": "", "default_rank": 0, "certifier": ""}),
    "mechanism": Kind("quintain.dp"),
    # the docstrings of leakage.attack.LeakageAttack and leakage.audit.auditor.Auditor say what these are
    "leak": Kind("quintain.leakage", {"goal": "", "access": "", "needs": (), "default_rank": 0}),
    "audit": Kind(
        "quintain.leakage",
        {"scores_of": "canaries", "needs": (), "rests_on_assumption": False, "default_rank": 0},
    ),
    "aggregation": Kind("quintain.federated", {"hides_updates": False, "default_rank": 0}),
    "strategy": Kind("quintain.federated", {"is_personal": False, "default_rank": 0}),
}

COMMON = ("name", "summary", "guarantee", "exemptions", "old_names")
"""Class variables that things of every kind may have."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered thing.

    Args:
        kind: What it is: a key of ``KINDS``.
        name: What users type.
        import_path: Where it is: ``package.module:attribute``.
        summary: One line for ``quintain list``.
        guarantee: What its result may be taken for, and under what assumption; empty where nothing is
            guaranteed.
        facts: Facts of its kind that differ from the default, as text: ``(("supports", "linf l2"),)``.
        exemptions: Laws (``tests/laws``) that it is exempt from, each with its reason.
        old_names: Names of earlier versions, which are still taken.
    """

    kind: str
    name: str
    import_path: str
    summary: str
    guarantee: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    exemptions: tuple[tuple[str, str], ...] = ()
    old_names: tuple[str, ...] = ()

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

    def build(self, **offered: object) -> Any:
        """Import the class, and call it with those of the offered settings that it has a parameter for."""
        made = self.load()
        accepted = signature(made).parameters
        return made(**{name: value for name, value in offered.items() if name in accepted})

    def fact(self, key: str, default: str = "") -> str:
        """Return one of the facts as text, or ``default`` where none is stored."""
        return dict(self.facts).get(key, default)

    def words(self, key: str) -> tuple[str, ...]:
        """Return one of the facts that is a list, such as the threats that it supports."""
        return tuple(self.fact(key).split())

    def numbers(self, key: str) -> dict[str, float]:
        """Return one of the facts that gives numbers by name, such as ``test_settings``.

        Whole numbers are ``int``.
        """
        pairs = (word.split("=") for word in self.words(key))
        return {name: int(value) if value.lstrip("-").isdigit() else float(value) for name, value in pairs}

    def is_true(self, key: str) -> bool:
        """Return one of the facts that is yes or no; where none is stored, the default of its kind."""
        return self.fact(key, _fact_text(KINDS[self.kind].facts[key])) == "yes"


def declare(
    *,
    name: str,
    summary: str,
    guarantee: str = "",
    exemptions: Mapping[str, str] | None = None,
    old_names: tuple[str, ...] = (),
    kind: str = "",
    **facts: object,
) -> Callable[[Declared], Declared]:
    """Return a decorator that gives a function the attributes that a class has as class variables.

    ::

        @declare(name="mlp", summary="one hidden layer of 32 units; ReLU")
        def mlp(num_classes, channels, size, *, seed): ...

    The decorator returns the function itself, so that its type stays what it is.

    Args:
        name, summary, guarantee, exemptions, old_names: As in ``Entry``.
        kind: A key of ``KINDS``, where its package has things of several kinds.
        facts: Those of its kind, as in ``KINDS``.
    """

    def set_attributes(function: Declared) -> Declared:
        attributes = {
            "name": name,
            "summary": summary,
            "guarantee": guarantee,
            "exemptions": exemptions or {},
            "old_names": old_names,
            **({"kind": kind} if kind else {}),
            **facts,
        }
        for key, value in attributes.items():
            setattr(function, key, value)
        return function

    return set_attributes


def entry_of(thing: Any, kind: str, name: str = "") -> Entry:
    """Return the entry of a class or function, read from its class variables or what ``declare`` gave it.

    Args:
        thing: The class or function.
        kind: A key of ``KINDS``.
        name: What users type; its own name if not given.

    Raises:
        SettingError: If ``declare`` was given a fact that its kind does not have.
    """
    known = KINDS[kind].facts
    # a class may have any other attributes; all that a function has come from declare
    declared = [] if isinstance(thing, type) else [key for key in vars(thing) if not key.startswith("__")]
    unknown = [key for key in declared if key not in (*COMMON, "kind", *known)]
    if unknown:
        raise SettingError(
            f"{kind} {thing.name!r} declares {', '.join(unknown)}; expected some of "
            f"{', '.join((*COMMON, *known))}"
        )
    return Entry(
        kind,
        name or thing.name,
        f"{thing.__module__}:{thing.__qualname__}",
        thing.summary,
        guarantee=getattr(thing, "guarantee", ""),
        facts=tuple(
            (key, _fact_text(value))
            for key, default in known.items()
            if (value := getattr(thing, key, default)) != default
        ),
        exemptions=tuple(getattr(thing, "exemptions", {}).items()),
        old_names=tuple(getattr(thing, "old_names", ())),
    )


def _fact_text(value: object) -> str:
    """Return a fact as text: ``yes`` or ``no``, words with blanks between them, or ``name=value`` pairs."""
    match value:
        case bool():
            return "yes" if value else "no"
        case Mapping():
            return " ".join(f"{key}={_fact_text(one)}" for key, one in value.items())
        case tuple() | list():
            return " ".join(map(_fact_text, value))
    return str(value)


@cache
def entries(kind: str) -> dict[str, Entry]:
    """Return all entries of a kind by name: the built-in ones, then those of other packages.

    Nothing that they name is imported, so an entry of another package has no facts: ``declared_entries`` has
    them.
    """
    own: tuple[Entry, ...] = import_module(f"{KINDS[kind].package}._index").ENTRIES
    found = {entry.name: entry for entry in own if entry.kind == kind}
    for point in entry_points(group=f"quintain.{kind}"):
        origin = point.dist.name if point.dist else "another package"
        found.setdefault(point.name, Entry(kind, point.name, point.value, f"from {origin}"))
    return found


def declared_entries(kind: str) -> dict[str, Entry]:
    """Return all entries of a kind with their facts; those of other packages are read from what they name.

    One that does not import is listed without facts; naming it raises.
    """
    found = {}
    for name, entry in entries(kind).items():
        try:
            found[name] = _with_facts(entry)
        except ExecutionError:
            found[name] = entry
    return found


def get_entry(kind: str, name: str) -> Entry:
    """Return the entry, with its facts, that is registered under a name or was in an earlier version.

    Raises:
        UnknownNameError: If there is none; the message suggests the nearest names, or the kind that has the
            name.
        ExecutionError: If it is of another package, and does not import.
    """
    known = entries(kind)
    current = next((entry.name for entry in known.values() if name in entry.old_names), name)
    if current not in known:
        others = [other for other in KINDS if name in entries(other)]
        raise UnknownNameError(kind, name, known, other_kinds=others)
    return _with_facts(known[current])


def by_default_rank(kind: str) -> list[Entry]:
    """Return the entries of a kind in the order of their default rank, those of rank 0 last."""

    def rank(entry: Entry) -> float:
        return int(entry.fact("default_rank", "0")) or math.inf

    return sorted(declared_entries(kind).values(), key=rank)


def choose(kind: str, name: str = "", **facts: str) -> Entry:
    """Return the entry of a name, which must have the given facts; without a name, the first that has them.

    Args:
        kind: A key of ``KINDS``.
        name: What the user typed; empty for the default.
        facts: Facts with the values that they must have, such as ``goal="pictures"``.

    Raises:
        UnknownNameError: If nothing of the kind has this name.
        SettingError: If the named entry does not have these facts, or no entry has them.
    """
    defaults = KINDS[kind].facts
    fitting = [
        entry
        for entry in by_default_rank(kind)
        if all(entry.fact(key, _fact_text(defaults[key])) == value for key, value in facts.items())
    ]
    wanted = ", ".join(f"{key} {value}" for key, value in facts.items())
    if not name:
        if not fitting:
            raise SettingError(f"no {kind} is registered with {wanted}; see 'quintain list {kind}'")
        return fitting[0]
    entry = get_entry(kind, name)
    if entry not in fitting:
        raise SettingError(
            f"{kind} {name!r} does not fit here; expected one with {wanted}: "
            f"{', '.join(entry.name for entry in fitting) or 'none is registered'}"
        )
    return entry


def _with_facts(entry: Entry) -> Entry:
    """Return an entry with its facts; for one of another package, the class or function is imported."""
    if entry.import_path.startswith("quintain."):
        return entry
    thing = entry.load()
    if not hasattr(thing, "summary"):
        return entry
    return replace(entry_of(thing, entry.kind, entry.name), import_path=entry.import_path)
