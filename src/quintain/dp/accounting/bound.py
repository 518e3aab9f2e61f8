"""What a history of steps, or a ledger of releases, costs: the sound accountant for each, and both sides where both are known."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from quintain.core.errors import Contradiction
from quintain.dp.accounting import chosen, prv, rdp
from quintain.dp.accounting.guarantee import Bracket, Guarantee
from quintain.dp.accounting.losses import History
from quintain.dp.accounting.pld import check_delta, checked, composed_epsilon, noisy

if TYPE_CHECKING:
    from quintain.dp.accounting.ledger import Release

PLD, RDP = "PLD (dp-accounting)", "RDP at whole orders"
CHOSEN = "RDP at orders fixed beforehand, for settings chosen after releases"


def bracket(history: History, delta: float) -> Bracket:
    """The smallest true epsilon of Poisson-sampled Gaussian steps, between what is claimed (PLD) and the lower side of our own PRV.

    Args:
        history: Runs (noise multiplier, sample rate, steps).
        delta: In (0, 1).

    Raises:
        SettingError: If an argument is out of its range.
        Contradiction: If the two accountants cross.
    """
    upper, lower = composed_epsilon(history, delta), prv.bracket(history, delta).lower
    if lower > upper:
        raise Contradiction(
            f"the lower side of epsilon, {lower:.6g} by PRV, is above the upper one, {upper:.6g} by PLD, for {list(history)}"
        )
    return Bracket(lower, upper)


def epsilon_of(releases: "Sequence[Release]", delta: float) -> float:
    """What releases cost together, by the least bound that holds for all of them, and for how their settings came about."""
    check_delta(delta)
    return _claim(releases, delta)[0]


def if_fixed_beforehand(releases: "Sequence[Release]", delta: float) -> float:
    """What they would cost had all settings been there before the first of them."""
    return _of_fixed(releases, delta)[0]


def if_chosen_meanwhile(releases: "Sequence[Release]", delta: float) -> float:
    """What they would cost had the settings of each been chosen after looking at those before it."""
    steps, passes = _steps(releases), _passes(releases, chosen=True)
    if not noisy(checked([*steps, *((one.sigma, 1.0, 1) for one in passes)])):
        return math.inf
    return chosen.to_epsilon(_divergences(steps, passes), delta) if releases else 0.0


def guarantee_of(releases: "Sequence[Release]", delta: float) -> Guarantee:
    """The same, with the lower side and all that it assumes.

    The lower side is known where all steps are Poisson-sampled, or of the full batch, with Gaussian noise; then the neighbours differ by
    adding or removing a unit, else by blanking one out.
    """
    epsilon, accountant = epsilon_of(releases, delta), _claim(releases, delta)[1]
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
    """One pass over the data, in which a unit is in at most one step: the least noise of its steps, and its bins."""

    sigma: float
    bins: int
    sampling: str


def _claim(releases: "Sequence[Release]", delta: float) -> tuple[float, str]:
    """Epsilon, and who says so."""
    if chosen.fixed_beforehand(releases):
        return _of_fixed(releases, delta)
    return if_chosen_meanwhile(releases, delta), CHOSEN


def _of_fixed(releases: "Sequence[Release]", delta: float) -> tuple[float, str]:
    """Epsilon of settings that were fixed beforehand, and who says so.

    Shuffled passes, and passes of balls in bins where that is less, count as one step each that a unit is in for certain: a record is
    in one step of a pass, and by joint convexity a random order is no worse than the worst one. Privacy losses are used where noise is
    Gaussian; Renyi divergences where some is discrete or thrown in bins.
    """
    steps, passes = _steps(releases), _passes(releases)
    alone = [(one.sigma, 1.0, 1) for one in passes]
    if not noisy(checked([*steps, *alone])):
        return math.inf, PLD
    found = []
    if all(release.mechanism == "gaussian" for release in releases):
        found.append((composed_epsilon([*steps, *alone], delta), PLD))
    if not found or any(one.sampling == "balls-in-bins" for one in passes):
        found.append((rdp.to_epsilon(_divergences(steps, passes), delta), RDP))
    return min(found)


def _divergences(steps: History, passes: "Sequence[_Pass]") -> rdp.Floats:
    total = np.zeros(len(rdp.ORDERS))
    for sigma, rate, count in steps:
        total += count * rdp.sampled(sigma, rate)
    for one, count in Counter(passes).items():
        total += count * (rdp.allocated(one.sigma, one.bins) if one.sampling == "balls-in-bins" else rdp.sampled(one.sigma, 1.0))
    return total


def _steps(releases: "Sequence[Release]") -> list[tuple[float, float, int]]:
    """Steps that draw anew, or hold everybody."""
    kept = [release for release in releases if not release.in_passes]
    return prv.merged([(r.noise_multiplier, 1.0 if r.sampling == "full batch" else r.sample_rate, r.steps) for r in kept])


def _passes(releases: "Sequence[Release]", *, chosen: bool = False) -> list[_Pass]:
    """Each pass once, however many of its steps were taken; bins in which the noise was ``chosen`` anew hide nothing."""
    found: dict[tuple[str, int], _Pass] = {}
    for release in releases:
        if release.in_passes:
            key = (release.sampling, release.epoch)
            before = found.get(key, _Pass(math.inf, release.steps_per_epoch, release.sampling))
            sigma, bins = min(before.sigma, release.noise_multiplier), min(before.bins, release.steps_per_epoch)
            changed = key in found and before.sigma != release.noise_multiplier
            found[key] = _Pass(sigma, bins, "shuffle" if chosen and changed else release.sampling)
    return list(found.values())
