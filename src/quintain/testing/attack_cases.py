"""In which threats and with what settings the laws try an attack."""

from collections.abc import Mapping
from dataclasses import replace

from quintain.attacks.base import Attack
from quintain.core.errors import SettingError
from quintain.core.registry import declared_entries, entries
from quintain.testing.closed_forms import CLOSED_FORMS
from quintain.testing.threat_laws import whole_sizes
from quintain.threats import Threat, parse

SIZES: Mapping[str, float] = {"linf": 0.1, "l2": 0.6, "l1": 2.0, "l0": 3.0, "mask": 0.3}
"""Sizes of the balls in which most laws are checked; other threats are in that of their example."""

GAP_SIZES: Mapping[str, tuple[float, float]] = {
    "linf": (0.5, 0.0),
    "l2": (3.0, 0.5),
    "l1": (10.0, 1.0),
    "l0": (15.0, 1.0),
    "mask": (1.5, 0.0),
}
"""The widest ball that a gap is measured in on 60 numbers, and by which power of their count it grows."""

WHOLE_SPACE: Mapping[str, float] = {"linf": 1.0, "l2": 8.0, "l1": 60.0, "l0": 60.0, "mask": 1.0}
"""Sizes at which balls on 60 numbers hold the whole box."""

SPLITS: Mapping[str, tuple[list[int], ...]] = {
    "uneven": ([2, 1, 4, 3],),
    "singly and alike": ([1] * 10, [3, 3, 3, 1], [4, 4, 2]),
}
"""Into parts of which sizes ten examples are split, once or several times."""

DEFAULT_GAP = 0.01
"""The optimality gap of an attack that declares none."""


def example_threat(kind: str) -> Threat:
    """Return the registered threat of a kind in its example size.

    Raises:
        SettingError: If the threat of that name gives no example.
    """
    example = declared_entries("threat")[kind].fact("example")
    if not example:
        raise SettingError(f"the threat {kind} gives no example; expected a spec as its fact `example`")
    return parse(example)


def threat_of_size(kind: str, eps: float) -> Threat:
    """Return the threat of a kind in another size, rounded where sizes are whole."""
    threat = example_threat(kind)
    return _resized(threat, round(eps) if whole_sizes(threat) else eps)


def law_threat(kind: str) -> Threat:
    """Return the threat of a kind in the size that most laws are checked in."""
    return _resized(example_threat(kind), SIZES[kind]) if kind in SIZES else example_threat(kind)


def gap_threat(kind: str, fraction: float, numbers: int) -> Threat:
    """Return a threat in which some inputs of a linear task can be broken and some cannot.

    Args:
        kind: One of ``CLOSED_FORMS``.
        fraction: Of the widest that a gap is measured in, from 0 to 1.
        numbers: How many numbers an input has.
    """
    widest, power = GAP_SIZES[kind]
    eps = fraction * widest * (numbers / 60) ** power
    return _resized(example_threat(kind), max(1.0, round(eps)) if kind == "l0" else eps)


def whole_space_threat(kind: str, fraction: float) -> Threat:
    """Return a ball of a fraction of the size at which it holds the whole box of 60 numbers."""
    eps = fraction * WHOLE_SPACE[kind]
    return _resized(example_threat(kind), max(1.0, round(eps)) if kind == "l0" else eps)


def gap_shape(attack: Attack) -> tuple[int, ...]:
    """Return the shape of inputs that an attack's gap is measured on.

    Half the numbers where each of them has to be queried without a gradient.
    """
    return (1, 10, 6) if attack.access == "gradients" else (1, 6, 5)


def declared_gap(attack: Attack, kind: str) -> float:
    """Return the declared relative gap to the closed-form optimum in a kind of threat."""
    return float(attack.optimality_gap.get(kind, attack.optimality_gap.get("any", DEFAULT_GAP)))


def with_settings(attack: Attack, settings: Mapping[str, float]) -> Attack:
    """Return an attack with other settings, such as its own ``test_settings``."""
    changed: Attack = replace(attack, **settings)  # type: ignore[type-var]
    return changed


def supported_kinds(attack: Attack) -> list[str]:
    """Return the kinds of threats that an attack supports and that are registered."""
    return [kind for kind in attack.supports if kind in entries("threat")]


def closed_kinds(attack: Attack) -> list[str]:
    """Return the kinds of threats that an attack supports and that closed forms are known for."""
    return [kind for kind in supported_kinds(attack) if kind in CLOSED_FORMS]


def _resized(threat: Threat, eps: float) -> Threat:
    resized: Threat = replace(threat, eps=eps)  # type: ignore[type-var]
    return resized
