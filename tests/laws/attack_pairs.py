"""Which attack the laws try in which threat, and with what settings."""

from collections import Counter
from dataclasses import replace
from itertools import groupby, product
from operator import itemgetter

import pytest

from quintain.attacks.base import Attack
from quintain.core.registry import declared_entries, entries
from quintain.threats import Threat, parse

CLOSED_FORMS = ("linf", "l2", "l1", "l0", "mask")
SIZES = {"linf": 0.1, "l2": 0.6, "l1": 2.0, "l0": 3.0, "mask": 0.3}
GAPS = {"linf": (0.5, 0.0), "l2": (3.0, 0.5), "l1": (10.0, 1.0), "l0": (15.0, 1.0), "mask": (1.5, 0.0)}
"""The widest ball that a gap is measured in on 60 numbers, and by which power of their count it grows."""
WIDE = {"linf": 1.0, "l2": 8.0, "l1": 60.0, "l0": 60.0, "mask": 1.0}


def ball_of(name: str) -> Threat:
    """The registered threat of a name, in its example size."""
    ball = parse(entries("threat")[name].fact("example"))
    assert isinstance(ball, Threat)
    return ball


def resized(name: str, eps: float) -> Threat:
    """A threat of another size, which is rounded where the threat counts."""
    return replace(ball_of(name), eps=round(eps) if entries("threat")[name].is_true("whole_sizes") else eps)


def sized(name: str) -> Threat:
    """A threat in the size that the laws use."""
    return replace(ball_of(name), eps=SIZES[name]) if name in SIZES else ball_of(name)


def gap_shape(attack_name: str) -> tuple[int, ...]:
    """The shape of the inputs that a gap is measured on: half the numbers where each of them has to be asked
    about without a gradient.
    """
    return (1, 10, 6) if declared_entries("attack")[attack_name].fact("access") == "gradients" else (1, 6, 5)


def gap_ball(ball_name: str, share: float, numbers: int) -> Threat:
    """A threat of a share of the widest that a gap is measured in, in which some inputs of so many numbers
    can be broken and some not.
    """
    widest, power = GAPS[ball_name]
    eps = share * widest * (numbers / 60) ** power
    return replace(ball_of(ball_name), eps=max(1.0, round(eps)) if ball_name == "l0" else eps)


def attack_of(name: str, trial: str = "test_settings") -> Attack:
    """A registered attack with the settings that its entry names for trials: fewer steps where the default is
    long.
    """
    entry = declared_entries("attack")[name]
    return entry.load()(**entry.numbers(trial))


def gap_of(attack_name: str, ball_name: str) -> float:
    """The declared gap to the closed-form optimum."""
    entry = declared_entries("attack")[attack_name]
    gaps = entry.numbers("optimality_gap")
    return gaps.get(ball_name, gaps.get("any", 0.01))


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
    """Pairs in balls of two sizes by turns: an attack in several kinds of ball meets each of the sizes; what
    is left is exhaustive.
    """
    found = []
    for name, of_name in groupby((pair for pair in pairs if pair[1] in CLOSED_FORMS), key=itemgetter(0)):
        kinds = [kind for _, kind in of_name]
        for (turn, kind), (place, share) in product(enumerate(kinds), enumerate(shares)):
            left = len(kinds) > 1 and (turn + place) % 2
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


every_pair = pytest.mark.parametrize(("attack_name", "ball_name"), PAIRS)
