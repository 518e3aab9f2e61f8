"""Which attack the laws try in which threat, and with what settings."""

from collections import Counter
from itertools import groupby, product
from operator import itemgetter

import pytest

from quintain.attacks.base import Attack
from quintain.core.registry import declared_entries, entries
from quintain.testing import CLOSED_FORMS, law_threat, with_settings
from quintain.testing.attack_cases import declared_gap
from quintain.threats import Threat


def attack_of(name: str, trial: str = "test_settings") -> Attack:
    """A registered attack with the settings that it names for trials: fewer steps than take long."""
    attack = declared_entries("attack")[name].load()()
    return with_settings(attack, getattr(attack, trial))


def sized(kind: str) -> Threat:
    """A threat in the size that the laws use."""
    return law_threat(kind)


def gap_of(attack_name: str, kind: str) -> float:
    """The declared gap to the closed-form optimum."""
    return declared_gap(declared_entries("attack")[attack_name].load()(), kind)


def exempt(attack_name: str, law: str) -> bool:
    """Whether the entry gives a reason why a law cannot hold."""
    return law in dict(declared_entries("attack")[attack_name].exemptions)


def collect_pairs() -> list[tuple[str, str]]:
    """Every registered attack, those of other packages included, with every registered threat that it
    supports.
    """
    return [
        (name, kind)
        for name, entry in sorted(declared_entries("attack").items())
        for kind in entry.words("supports")
        if kind in entries("threat")
    ]


PAIRS = collect_pairs()
BREAKING = [
    (name, kind) for name, kind in PAIRS if declared_entries("attack")[name].fact("minimum_norm") != "yes"
]
SMALLEST = [pair for pair in PAIRS if pair not in BREAKING]


def by_turns(pairs: list[tuple[str, str]], shares: tuple[float, float]) -> list:
    """Pairs in balls of two sizes by turns: an attack in several kinds of ball meets both sizes, others one.

    What is left is exhaustive.
    """
    found = []
    closed = groupby((pair for pair in pairs if pair[1] in CLOSED_FORMS), key=itemgetter(0))
    for start, (name, of_name) in enumerate(closed):
        kinds = [kind for _, kind in of_name]
        for (turn, kind), (place, share) in product(enumerate(kinds), enumerate(shares)):
            left = (start + turn + place) % 2
            found.append(pytest.param(share, name, kind, marks=pytest.mark.exhaustive if left else ()))
    return found


def each_once(pairs: list[tuple[str, str]] = PAIRS) -> pytest.MarkDecorator:
    """All pairs, of which each attack meets one threat (of those it serves, the one met least so far), and
    each threat an attack.

    The others are exhaustive.
    """
    kept: dict[str, str] = {}
    for name, of_name in groupby(pairs, key=itemgetter(0)):
        met = Counter(kept.values())
        kept[name] = min((kind for _, kind in of_name), key=lambda kind: met[kind])
    others = {kind: (name, kind) for name, kind in pairs if kind not in kept.values()}
    chosen = {*kept.items(), *others.values()}
    return pytest.mark.parametrize(
        ("attack_name", "ball_name"),
        [pytest.param(*pair, marks=() if pair in chosen else pytest.mark.exhaustive) for pair in pairs],
    )


def every_pair_in_turn(names: str, values: list) -> pytest.MarkDecorator:
    """All pairs with all values: each pair meets one in turn, each attack all; the rest is exhaustive.

    Args:
        names: Of what a value is made of.
        values: Each a value, or a tuple of as many as there are names.
    """
    cases = []
    for start, (name, of_name) in enumerate(groupby(PAIRS, key=itemgetter(0))):
        kinds = [kind for _, kind in of_name]
        for (place, kind), (turn, value) in product(enumerate(kinds), enumerate(values)):
            met = (start + place - turn) % min(len(kinds), len(values)) == 0
            parts = value if isinstance(value, tuple) else (value,)
            cases.append(pytest.param(name, kind, *parts, marks=() if met else pytest.mark.exhaustive))
    return pytest.mark.parametrize(f"attack_name,ball_name,{names}", cases)
