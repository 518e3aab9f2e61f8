"""Epsilon of steps and of a ledger's releases: the sound accountant for each, and known lower bounds."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from quintain.core.errors import Contradiction
from quintain.dp.accounting import chosen, prv, rdp
from quintain.dp.accounting.guarantee import Bracket, Guarantee
from quintain.dp.accounting.losses import History
from quintain.dp.accounting.pld import LEAST_NOISE, check_delta, checked, composed_epsilon, noisy

if TYPE_CHECKING:
    from quintain.dp.accounting.ledger import Release

PLD, RDP = "PLD (dp-accounting)", "RDP at whole orders"
CHOSEN = "RDP at orders fixed beforehand, for settings chosen after releases"


def bracket(history: History, delta: float) -> Bracket:
    """Bounds on the true epsilon of Poisson-sampled Gaussian steps: lower by ``prv``, upper (claimed) by PLD.

    Of steps with noise, but less than ``LEAST_NOISE``, neither bound says anything.

    Args:
        history: Runs (noise multiplier, sample rate, steps).
        delta: In (0, 1).

    Raises:
        SettingError: If an argument is out of its range.
        Contradiction: If the two accountants cross.
    """
    upper = composed_epsilon(history, delta)
    if any(0 < sigma < LEAST_NOISE for sigma, _, _ in history):
        return Bracket(0.0, upper)
    lower = prv.bracket(history, delta).lower
    if lower > upper:
        raise Contradiction(
            f"the lower bound on epsilon, {lower:.6g} by PRV, is above the upper one, {upper:.6g} by PLD, "
            f"for {list(history)}; expected it below: one of the accountants is wrong, so claim neither"
        )
    return Bracket(lower, upper)


def epsilon_of(releases: "Sequence[Release]", delta: float) -> float:
    """Epsilon of all releases together: the least bound that holds for their kinds and their choices."""
    check_delta(delta)
    return _claim(releases, delta)[0]


def if_fixed_beforehand(releases: "Sequence[Release]", delta: float) -> float:
    """Epsilon of the releases if all settings had been fixed before the first of them."""
    return _of_fixed(releases, delta)[0]


def if_chosen_meanwhile(releases: "Sequence[Release]", delta: float) -> float:
    """Epsilon of the releases if the settings of each had been chosen after looking at those before it."""
    steps, passes = _steps(releases), _passes(releases, adaptive=True)
    if not noisy(checked([*steps, *((one.sigma, 1.0, 1) for one in passes)])):
        return math.inf
    return chosen.to_epsilon(_divergences(steps, passes), delta) if releases else 0.0


def guarantee_of(releases: "Sequence[Release]", delta: float) -> Guarantee:
    """``epsilon_of`` the releases with its lower bound, where one is known, and all that the claim assumes.

    A lower bound is known where all steps are Poisson-sampled, or of the full batch, with Gaussian noise.
    Neighbours differ by adding or removing a unit; where some steps belong to passes, by blanking one out.
    """
    check_delta(delta)
    epsilon, accountant = _claim(releases, delta)
    plain = all(not release.in_passes and release.mechanism == "gaussian" for release in releases)
    first = releases[0] if releases else None
    return Guarantee(
        epsilon=epsilon,
        delta=delta,
        lower=bracket(_steps(releases), delta).lower if plain else None,
        accountant=accountant,
        adjacency="zero-out" if any(release.in_passes for release in releases) else "add/remove",
        unit=first.unit if first else "record",
        sampling=" and ".join(sorted({release.sampling for release in releases})) or "poisson",
        noise=" and ".join(sorted({"float gaussian" if r.mechanism == "gaussian" else r.mechanism for r in releases})) or "float gaussian",
        reproducible=any(release.reproducible for release in releases),
        steps=sum(release.steps for release in releases),
        units=min((release.records for release in releases), default=0),
        fixed_beforehand=chosen.fixed_beforehand(releases),
        if_fixed_beforehand=if_fixed_beforehand(releases, delta),
        if_chosen_meanwhile=if_chosen_meanwhile(releases, delta),
    )


class _Pass(NamedTuple):
    """One pass, in which a unit is in one step at most: the least noise of its steps, and how many bins."""

    sigma: float
    bins: int
    sampling: str


def _claim(releases: "Sequence[Release]", delta: float) -> tuple[float, str]:
    """Epsilon, and the name of the accountant."""
    if chosen.fixed_beforehand(releases):
        return _of_fixed(releases, delta)
    return if_chosen_meanwhile(releases, delta), CHOSEN


def _of_fixed(releases: "Sequence[Release]", delta: float) -> tuple[float, str]:
    """Epsilon of settings that were fixed beforehand, and the name of the accountant.

    A pass counts as one step on all records: a record is in one step of it, and by joint convexity a random
    order is no worse than the worst one. Privacy losses give a bound if all noise is Gaussian. Renyi
    divergences give one if some noise is discrete, or for balls in bins, whose amplification they know. The
    lesser counts.
    """
    steps, passes = _steps(releases), _passes(releases)
    as_full_batches = [(one.sigma, 1.0, 1) for one in passes]
    if not noisy(checked([*steps, *as_full_batches])):
        return math.inf, PLD
    found = []
    if all(release.mechanism == "gaussian" for release in releases):
        found.append((composed_epsilon([*steps, *as_full_batches], delta), PLD))
    if not found or any(one.sampling == "balls-in-bins" for one in passes):
        found.append((rdp.to_epsilon(_divergences(steps, passes), delta), RDP))
    return min(found)


def _divergences(steps: History, passes: "Sequence[_Pass]") -> rdp.Floats:
    """Renyi divergences at ``rdp.ORDERS``, added up over steps and passes."""
    total = np.zeros(len(rdp.ORDERS))
    for sigma, rate, count in steps:
        total += count * rdp.sampled(sigma, rate)
    for one, count in Counter(passes).items():
        total += count * (rdp.allocated(one.sigma, one.bins) if one.sampling == "balls-in-bins" else rdp.sampled(one.sigma, 1.0))
    return total


def _steps(releases: "Sequence[Release]") -> list[tuple[float, float, int]]:
    """Runs (noise multiplier, sample rate, steps) of the steps in no pass: Poisson and full batches."""
    kept = [release for release in releases if not release.in_passes]
    return prv.merged([(r.noise_multiplier, 1.0 if r.sampling == "full batch" else r.sample_rate, r.steps) for r in kept])


def _passes(releases: "Sequence[Release]", *, adaptive: bool = False) -> list[_Pass]:
    """Each pass once, however many of its steps were taken, with the least noise of these.

    If the choice was ``adaptive``, a pass of balls in bins whose noise changed half way counts as a shuffled
    one, and stays one: no amplification.
    """
    found: dict[tuple[str, int], _Pass] = {}
    for release in releases:
        if release.in_passes:
            key = (release.sampling, release.epoch)
            before = found.get(key, _Pass(math.inf, release.steps_per_epoch, release.sampling))
            sigma, bins = min(before.sigma, release.noise_multiplier), min(before.bins, release.steps_per_epoch)
            changed = key in found and before.sigma != release.noise_multiplier
            found[key] = _Pass(sigma, bins, "shuffle" if adaptive and changed else before.sampling)
    return list(found.values())
