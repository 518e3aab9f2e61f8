"""The threats that a drill measures: several sizes of the one that is defended against, and of L2 noise."""

from dataclasses import replace

from quintain.core.registry import entries
from quintain.core.threat_specs import threat_name
from quintain.drill.settings import Settings
from quintain.threats import L2, Linf, parse
from quintain.threats.threat import Threat

SIZES = (0.5, 1.0, 2.0)
"""The sizes at which models are attacked and certified, relative to the threat of the drill."""

SMOOTHED_SIZES = (1.0, 2.0)
"""Sizes at which the smoothed model is certified, relative to sigma."""

SIGMA = 0.25
"""Standard deviation of the noise in training, and of the smoothed model, where the threat says nothing."""


def sizes_of(threat: Threat) -> tuple[Threat, ...]:
    """Return half the threat, the threat and its double, as far as they fit into the data's box.

    A threat without a size, or with one in whole numbers, is alone.
    """
    entry = entries("threat")[threat_name(threat.spec)]
    if entry.is_true("parametric") or entry.is_true("whole_sizes") or entry.is_true("images_only"):
        return (threat,)
    widest = threat.high - threat.low if isinstance(threat, Linf) else float("inf")
    sizes = (threat.eps * factor for factor in SIZES)
    return tuple(replace(threat, eps=size) for size in sizes if size <= widest)  # type: ignore[type-var]


def sigma_of(threat: Threat) -> float:
    """Return the noise of training and smoothing: half an L2 threat's size, which is then within reach."""
    return threat.eps / 2 if isinstance(threat, L2) else SIGMA


def smoothed_sizes(threat: Threat) -> tuple[L2, ...]:
    """Return the threats that the smoothed model is certified for."""
    return tuple(L2(size * sigma_of(threat)) for size in SMOOTHED_SIZES)


def measured_specs(settings: Settings) -> tuple[str, ...]:
    """Return the specs of every threat that a drill measures."""
    threat = parse(settings.threat)
    assert isinstance(threat, Threat)
    return tuple(dict.fromkeys(one.spec for one in (*sizes_of(threat), *smoothed_sizes(threat))))
