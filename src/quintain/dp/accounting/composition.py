"""Epsilon of composed releases: the accountant that is sound for each kind, and lower bounds where known."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from quintain.core.errors import ContradictionError
from quintain.dp.accounting import fully_adaptive, prv, rdp
from quintain.dp.accounting.guarantee import EpsilonBounds, Guarantee
from quintain.dp.accounting.pld import (
    MIN_NOISE_MULTIPLIER,
    all_noisy,
    check_delta,
    composed_epsilon,
    validated_history,
)
from quintain.dp.accounting.privacy_loss import History
from quintain.dp.accounting.release import Release

PLD, RDP = "PLD (dp-accounting)", "RDP at whole orders"
ADAPTIVE_RDP = "RDP at orders fixed beforehand, for settings chosen after releases"


def epsilon_bounds(history: History, delta: float) -> EpsilonBounds:
    """Bounds on the true epsilon of Poisson-sampled Gaussian steps: lower by ``prv``, upper (claimed) by PLD.

    For steps with noise, but less than ``MIN_NOISE_MULTIPLIER``, the bounds are 0 and infinity.

    Args:
        history: Runs (noise multiplier, sample rate, steps).
        delta: In (0, 1).

    Raises:
        SettingError: If an argument is out of its range.
        ContradictionError: If the two accountants cross.
    """
    upper = composed_epsilon(history, delta)
    if any(0 < sigma < MIN_NOISE_MULTIPLIER for sigma, _, _ in history):
        return EpsilonBounds(0.0, upper)
    lower = prv.prv_bounds(history, delta).lower
    if lower > upper:
        raise ContradictionError(
            f"the lower bound on epsilon, {lower:.6g} by PRV, is above the upper one, {upper:.6g} by PLD, "
            f"for {list(history)}; expected it below: one of the accountants is wrong, so claim neither"
        )
    return EpsilonBounds(lower, upper)


def epsilon_of(releases: Sequence[Release], delta: float) -> float:
    """Return epsilon of all releases together.

    The least bound proved for their kinds and how settings were chosen.
    """
    check_delta(delta)
    return _tightest_epsilon(releases, delta)[0]


def epsilon_if_fixed_beforehand(releases: Sequence[Release], delta: float) -> float:
    """Epsilon of the releases if all settings had been fixed before the first of them."""
    return _epsilon_of_fixed_settings(releases, delta)[0]


def epsilon_if_adaptive(releases: Sequence[Release], delta: float) -> float:
    """Epsilon of the releases if the settings of each had been chosen after looking at those before it."""
    steps, epochs = _independent_history(releases), _epoch_releases(releases, adaptive=True)
    if not all_noisy(validated_history([*steps, *((one.sigma, 1.0, 1) for one in epochs)])):
        return math.inf
    return fully_adaptive.adaptive_epsilon_from_rdp(_total_rdp(steps, epochs), delta) if releases else 0.0


def guarantee_of(releases: Sequence[Release], delta: float) -> Guarantee:
    """The guarantee of all releases together: epsilon, its lower bound where known, and what it assumes.

    A lower bound is known where all steps are Poisson-sampled, or of the full batch, with Gaussian noise.
    Neighbors differ by adding or removing a unit; where some steps are epoch-based, by blanking one out.
    """
    check_delta(delta)
    epsilon, accountant = _tightest_epsilon(releases, delta)
    plain = all(not release.is_epoch_based and release.mechanism == "gaussian" for release in releases)
    first = releases[0] if releases else None
    return Guarantee(
        epsilon=epsilon,
        delta=delta,
        epsilon_lower=epsilon_bounds(_independent_history(releases), delta).lower if plain else None,
        accountant=accountant,
        adjacency="zero-out" if any(release.is_epoch_based for release in releases) else "add/remove",
        unit=first.unit if first else "record",
        sampling=" and ".join(sorted({release.sampling for release in releases})) or "poisson",
        noise=" and ".join(
            sorted({"float gaussian" if r.mechanism == "gaussian" else r.mechanism for r in releases})
        )
        or "float gaussian",
        reproducible=any(release.reproducible for release in releases),
        steps=sum(release.steps for release in releases),
        num_units=min((release.num_units for release in releases), default=0),
        fixed_beforehand=fully_adaptive.all_fixed_beforehand(releases),
        epsilon_if_fixed_beforehand=epsilon_if_fixed_beforehand(releases, delta),
        epsilon_if_adaptive=epsilon_if_adaptive(releases, delta),
    )


class _EpochRelease(NamedTuple):
    """One epoch, in which a unit is in one step at most: the least noise of its steps, and how many bins."""

    sigma: float
    bins: int
    sampling: str


def _tightest_epsilon(releases: Sequence[Release], delta: float) -> tuple[float, str]:
    """The least epsilon that is proved for the releases, and the accountant that proves it."""
    if fully_adaptive.all_fixed_beforehand(releases):
        return _epsilon_of_fixed_settings(releases, delta)
    return epsilon_if_adaptive(releases, delta), ADAPTIVE_RDP


def _epsilon_of_fixed_settings(releases: Sequence[Release], delta: float) -> tuple[float, str]:
    """Epsilon of releases whose settings were fixed beforehand, and the accountant that proves it.

    Steps that are sampled independently (Poisson, full batch) are composed as they are. An epoch in which
    each unit is in at most one step counts as one full-batch step with the least noise of the epoch: by joint
    convexity a random order costs no more than the worst one. PLD is used where all noise is Gaussian. RDP is
    used where some noise is discrete, and tried as well where there are balls-in-bins epochs, since only RDP
    gains from the random bin.
    """
    steps, epochs = _independent_history(releases), _epoch_releases(releases)
    epochs_as_steps = [(one.sigma, 1.0, 1) for one in epochs]
    if not all_noisy(validated_history([*steps, *epochs_as_steps])):
        return math.inf, PLD
    claims = []
    if all(release.mechanism == "gaussian" for release in releases):
        claims.append((composed_epsilon([*steps, *epochs_as_steps], delta), PLD))
    if not claims or any(one.sampling == "balls-in-bins" for one in epochs):
        claims.append((rdp.epsilon_from_rdp(_total_rdp(steps, epochs), delta), RDP))
    # all claims hold, so the least does
    return min(claims)


def _total_rdp(steps: History, epochs: Sequence[_EpochRelease]) -> rdp.Floats:
    """Renyi divergences at ``rdp.ORDERS``, added up over steps and epochs."""
    total = np.zeros(len(rdp.ORDERS))
    for sigma, rate, count in steps:
        total += count * rdp.poisson_gaussian_rdp(sigma, rate)
    for one, count in Counter(epochs).items():
        total += count * (
            rdp.balls_in_bins_rdp(one.sigma, one.bins)
            if one.sampling == "balls-in-bins"
            else rdp.poisson_gaussian_rdp(one.sigma, 1.0)
        )
    return total


def _independent_history(releases: Sequence[Release]) -> list[tuple[float, float, int]]:
    """The history of the steps that are sampled independently: Poisson and full batches."""
    independent = [release for release in releases if not release.is_epoch_based]
    return prv.merge_history(
        [
            (r.noise_multiplier, 1.0 if r.sampling == "full batch" else r.sample_rate, r.steps)
            for r in independent
        ]
    )


def _epoch_releases(releases: Sequence[Release], *, adaptive: bool = False) -> list[_EpochRelease]:
    """Each epoch once, however many of its steps were taken, with the least noise of these.

    If settings were chosen in between (``adaptive``), an epoch of balls-in-bins whose noise changed half way
    counts as a shuffled one from then on: no amplification.
    """
    by_epoch: dict[tuple[str, int], _EpochRelease] = {}
    for release in releases:
        if release.is_epoch_based:
            key = (release.sampling, release.epoch)
            before = by_epoch.get(key, _EpochRelease(math.inf, release.steps_per_epoch, release.sampling))
            sigma, bins = (
                min(before.sigma, release.noise_multiplier),
                min(before.bins, release.steps_per_epoch),
            )
            changed = key in by_epoch and before.sigma != release.noise_multiplier
            by_epoch[key] = _EpochRelease(sigma, bins, "shuffle" if adaptive and changed else before.sampling)
    return list(by_epoch.values())
