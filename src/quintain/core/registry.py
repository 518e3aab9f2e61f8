"""The registry maps names to module paths, so that what is registered is known without importing any of it.

What is registered says itself what it is: a class by class variables, a function by ``declare``. From these
``quintain.core.index`` writes one module of strings for each part, its ``_index.py``, which is all that
``import quintain``, ``quintain list`` and the command line's help read. Other packages add theirs through
entry points of the groups ``quintain.attack``, ``quintain.certifier`` and so on, named like the kinds below;
theirs are read from the class or function itself, once something asks what it can do.
"""

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
    """One kind of what can be registered.

    Args:
        package: The part that holds ours.
        facts: What each may say of itself beyond its name, summary, guarantee, exemptions and old names, and
            what holds where it says nothing; only the rest is stored.
    """

    package: str
    facts: Mapping[str, object] = field(default_factory=dict)


KINDS: Mapping[str, Kind] = {
    "threat": Kind(
        "quintain.threats",
        {
            "example": "",
            "usual": "",
            "parametric": False,
            "has_size": True,
            "whole_sizes": False,
            "images_only": False,
            "options": {},
            "joins": False,
        },
    ),
    "model": Kind("quintain.models"),
    "dataset": Kind("quintain.data", {"is_public": False, "noun": ""}),
    "attack": Kind(
        "quintain.attacks",
        {
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
    "certifier": Kind(
        "quintain.certify",
        {"supports": (), "example": "", "default_rank": 0, "subject": "model", "cost": "cheap"},
    ),
    "defense": Kind("quintain.harden", {"supports": (), "example": "", "default_rank": 0, "certifier": ""}),
    "mechanism": Kind("quintain.dp"),
    "privacy_attack": Kind("quintain.leakage", {"reads": "", "default_rank": 0}),
    "aggregation": Kind("quintain.federated", {"hides_updates": False, "default_rank": 0}),
    "strategy": Kind("quintain.federated", {"is_personal": False, "default_rank": 0}),
}

COMMON = ("name", "summary", "guarantee", "exemptions", "old_names")
"""What everything may say of itself."""


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
        facts: What else it says of itself, as text, such as ``(("supports", "linf l2"),)``.
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
        """Import the class, and make one with those of the settings on offer that it takes."""
        made = self.load()
        taken = signature(made).parameters
        return made(**{name: value for name, value in offered.items() if name in taken})

    def fact(self, key: str, default: str = "") -> str:
        """Return one of the facts, or the default where it says nothing."""
        return dict(self.facts).get(key, default)

    def words(self, key: str) -> tuple[str, ...]:
        """Return one of the facts that is a list, such as the threats that it supports."""
        return tuple(self.fact(key).split())

    def numbers(self, key: str) -> dict[str, float]:
        """Return one of the facts that gives numbers by name; whole numbers are ``int``.

        Settings for the laws are such a fact.
        """
        pairs = (word.split("=") for word in self.words(key))
        return {name: int(value) if value.lstrip("-").isdigit() else float(value) for name, value in pairs}

    def is_true(self, key: str) -> bool:
        """Return one of the facts that is yes or no."""
        return self.fact(key, to_text(KINDS[self.kind].facts[key])) == "yes"


def declare(
    *,
    name: str,
    summary: str,
    guarantee: str = "",
    exemptions: Mapping[str, str] | None = None,
    old_names: tuple[str, ...] = (),
    **facts: object,
) -> Callable[[Declared], Declared]:
    """Say of a function what a class says of itself in class variables of the same names.

    ::

        @declare(name="mlp", summary="one hidden layer of 32 units; ReLU")
        def mlp(num_classes, channels, size, *, seed): ...

    A decorator, since a function has no body to write class variables in, and since what is said must stand
    where the function does. It returns the function itself, with these attributes, so that its type stays
    what it is and nothing is stored elsewhere.

    Args:
        name, summary, guarantee, exemptions, old_names: As in ``Entry``.
        facts: Those of its kind, as in ``KINDS``.
    """

    def said_of(function: Declared) -> Declared:
        said = {
            "name": name,
            "summary": summary,
            "guarantee": guarantee,
            "exemptions": exemptions or {},
            "old_names": old_names,
            **facts,
        }
        for key, value in said.items():
            setattr(function, key, value)
        return function

    return said_of


def entry_of(thing: Any, kind: str, name: str = "") -> Entry:
    """Return the entry of a class or function that says what it is.

    Args:
        thing: The class or function.
        kind: A key of ``KINDS``.
        name: What users type; its own name if not given.

    Raises:
        SettingError: If ``declare`` was given a fact that its kind does not have.
    """
    known = KINDS[kind].facts
    unknown = [] if isinstance(thing, type) else [key for key in _said(thing) if key not in known]
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
            (key, to_text(value))
            for key, default in known.items()
            if (value := getattr(thing, key, default)) != default
        ),
        exemptions=tuple(getattr(thing, "exemptions", {}).items()),
        old_names=tuple(getattr(thing, "old_names", ())),
    )


def _said(function: Any) -> list[str]:
    return [key for key in vars(function) if key not in COMMON and not key.startswith("__")]


def to_text(value: object) -> str:
    """Return a fact as text: yes or no, words with blanks between them, ``name=value`` for each setting."""
    match value:
        case bool():
            return "yes" if value else "no"
        case Mapping():
            return " ".join(f"{key}={to_text(one)}" for key, one in value.items())
        case tuple() | list():
            return " ".join(map(to_text, value))
    return str(value)


@cache
def entries(kind: str) -> dict[str, Entry]:
    """Return all entries of a kind by name: the built-in ones, then those of other packages.

    Nothing that they name is imported, so that an entry of another package has no facts; where these matter,
    use ``declared_entries``.
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
            found[name] = _declared(entry)
        except ExecutionError:
            found[name] = entry
    return found


def get_entry(kind: str, name: str) -> Entry:
    """Return the entry that is registered under a name, or was in an earlier version, with its facts.

    Raises:
        UnknownNameError: If there is none; the message suggests the nearest names, or says of what kind it
            is.
        ExecutionError: If it is of another package, and does not import.
    """
    known = entries(kind)
    current = next((entry.name for entry in known.values() if name in entry.old_names), name)
    if current not in known:
        others = [other for other in KINDS if name in entries(other)]
        raise UnknownNameError(kind, name, known, other_kinds=others)
    return _declared(known[current])


def by_default_rank(kind: str) -> list[Entry]:
    """Return the entries of a kind from the first default to the last, then those that are none."""
    return sorted(
        declared_entries(kind).values(), key=lambda entry: int(entry.fact("default_rank", "0")) or 99
    )


def choose(kind: str, name: str = "", **facts: str) -> Entry:
    """Return the entry of a name, or the first default where none was named, of those with the given facts.

    Raises:
        UnknownNameError: If nothing of the kind has this name.
        SettingError: If what has the name does not have the facts.
    """
    able = [
        entry
        for entry in by_default_rank(kind)
        if all(entry.fact(key) == value for key, value in facts.items())
    ]
    if not name:
        return able[0]
    entry = get_entry(kind, name)
    if entry not in able:
        wanted = ", ".join(f"{key} {value}" for key, value in facts.items())
        raise SettingError(
            f"{kind} {name!r} does not fit here; expected one that {wanted}: "
            f"{', '.join(entry.name for entry in able)}"
        )
    return entry


def _declared(entry: Entry) -> Entry:
    """Return an entry with its facts, for which that of another package is imported."""
    if entry.import_path.startswith("quintain."):
        return entry
    thing = entry.load()
    if not hasattr(thing, "summary"):
        return entry
    return replace(entry_of(thing, entry.kind, entry.name), import_path=entry.import_path)
