"""DP-SGD inside each site: what a federation's updates tell of one patient or record, over all rounds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from numbers import Integral, Real

from torch import nn

from quintain.core.errors import PrivacyError, SettingError
from quintain.data.dataset import Dataset
from quintain.dp import Ledger, PrivacyUnits, PrivatePlan, accounting, fit
from quintain.dp.accounting.release import Release
from quintain.federated.secagg.setting_types import check_types

SLACK = 1 + 1e-6
"""Over the target: by how much the ledger's epsilon may exceed the calibrated one, by rounding."""
SAMPLE_RATE = 1 / 8
"""Of private training at a site: large batches drown the noise, small ones are cheaper in epsilon."""

PRIVATE_EPOCHS = 8
"""Of private training in one round: clipped gradients learn slowly, and epsilon grows with their root."""


@dataclass(frozen=True, slots=True)
class SitePrivacy:
    r"""The public settings of DP-SGD at each site, the same for all; each site has a ledger of its own.

    The noise of a site is the least that keeps ``epsilon`` over all rounds, by its own number of units. Where
    every unit (a patient, or a record) is at one site, the whole federation costs a unit what its own site's
    training does, at most

    .. math:: \varepsilon = \max_i \varepsilon_i

    since what the others send does not depend on it but through what its own site has released. A patient at
    k sites pays for each: k epsilon at most, and k delta.

    Args:
        epsilon, delta: The most that all rounds may cost.
        sample_rate: Probability of each unit to be in a batch.
        steps: Noisy steps a round.
        max_grad_norm: The clip norm of one unit's gradient.
        learning_rate, momentum: Of the local steps.

    Raises:
        SettingError: If a number is out of its range.

    Guarantee: that of ``quintain.dp.fit`` at each site, whatever server and other sites do, also where they
    see its update in the clear: the noise does not rest on an aggregation.
    Source: Abadi et al., 2016, arXiv:1607.00133; McSherry, 2009 (parallel composition).
    """

    epsilon: float
    delta: float = 1e-5
    sample_rate: float = 0.125
    steps: int = 16
    max_grad_norm: float = 1.0
    learning_rate: float = 1.0
    momentum: float = 0.5

    def __post_init__(self) -> None:
        numbers = ("epsilon", "delta", "sample_rate", "max_grad_norm", "learning_rate", "momentum")
        check_types(Real, **{name: getattr(self, name) for name in numbers})
        check_types(Integral, steps=self.steps)
        ranges = {
            "epsilon": (0 < self.epsilon < math.inf, "a positive finite number, such as 3"),
            "delta": (0 < self.delta < 1, "a number between 0 and 1, such as 1e-5"),
            "sample_rate": (0 < self.sample_rate <= 1, "above 0 and at most 1, such as 0.1"),
            "steps": (self.steps >= 1, "at least 1"),
        }
        for name, (in_range, expected) in ranges.items():
            if not in_range:
                raise SettingError(f"got {name} = {getattr(self, name)}; expected {expected}")
        self.plan(1000, 1, noise_multiplier=1.0)

    def plan(self, num_units: int, rounds: int, *, noise_multiplier: float | None = None) -> PrivatePlan:
        """Return one round's private training at a site, with noise for so many rounds.

        Args:
            num_units: Patients or records at the site: public.
            rounds: Of the whole training.
            noise_multiplier: The noise; the least that keeps ``epsilon`` if not given.
        """
        batch = max(1, round(self.sample_rate * num_units))
        noise = noise_multiplier
        if noise is None:
            noise = _least_noise(self.epsilon, self.delta, batch / num_units, self.steps * rounds)
        return PrivatePlan(
            noise_multiplier=noise,
            max_grad_norm=self.max_grad_norm,
            expected_batch_size=batch,
            steps=self.steps,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            delta=self.delta,
        )

    def release(self, data: Dataset, rounds: int, units: PrivacyUnits | None = None) -> Release:
        """Return what one round at a site releases, with noise for so many rounds."""
        num_units = len(data) if units is None else units.num_units
        plan = self.plan(num_units, rounds)
        one = Release(plan.noise_multiplier, plan.expected_batch_size, num_units, plan.steps)
        return one if units is None else replace(one, unit=units.name)

    def train(
        self, net: nn.Module, data: Dataset, rounds: int, ledger: Ledger, units: PrivacyUnits | None = None
    ) -> None:
        """Train a net in place for one round, and record in the site's ledger what that releases.

        Args:
            net: The common model of the round.
            data: The site's own.
            rounds: Of the whole training, all of which the noise is made for.
            ledger: Of the site.
            units: Whom the examples belong to; each for itself if not given.

        Raises:
            PrivacyError: If a layer cannot be private, or the ledger would hold more than the budget; nothing
                of this round has left the site then.
        """
        plan = self.plan(len(data) if units is None else units.num_units, rounds)
        if ledger.steps + plan.steps > rounds * plan.steps:
            raise PrivacyError(
                f"this site's ledger holds {ledger.steps} steps and a round takes {plan.steps}; expected at "
                f"most {rounds * plan.steps}, for which the noise keeps epsilon {self.epsilon:g}: the budget "
                "is spent, leave this training"
            )
        for release in fit(net, data, plan, units=units).releases:
            # these settings are in the terms of every round, and were fixed before the first
            ledger.record(replace(release, choice=0))
        spent = ledger.epsilon(self.delta)
        if spent > self.epsilon * SLACK:
            raise PrivacyError(
                f"all rounds so far cost epsilon {spent:g}; expected at most {self.epsilon:g}: this round's "
                "update does not leave the site"
            )


def private_sites(epsilon: float, delta: float, epochs: int | None) -> SitePrivacy:
    """Return the settings of DP-SGD at each site for so many epochs a round; for the usual ones if None.

    Raises:
        SettingError: If epsilon or delta is out of its range.
    """
    return SitePrivacy(
        epsilon, delta, sample_rate=SAMPLE_RATE, steps=round((epochs or PRIVATE_EPOCHS) / SAMPLE_RATE)
    )


def check_units(units: Mapping[str, PrivacyUnits] | None, names: Sequence[str]) -> Mapping[str, PrivacyUnits]:
    """Return the units of each site of these names; an empty mapping where each example is one for itself.

    Raises:
        SettingError: If they are given for other sites than these, for some of them alone, or differ in what
            they are: one epsilon would not hold for the whole federation.
    """
    if units is None:
        return {}
    check_types(Mapping, units=units)
    unknown = sorted(str(name) for name in units if name not in names)
    missing = [name for name in names if name not in units]
    if unknown or missing:
        raise SettingError(
            f"units names {', '.join(unknown) or 'no other site'} and lacks {', '.join(missing) or 'none'}; "
            f"expected them for each of {', '.join(names)}, since a site without units protects single "
            "records: where each example is a unit by itself, give PrivacyUnits(range(len(data)))"
        )
    check_types(PrivacyUnits, **{f"the units of {name!r}": one for name, one in units.items()})
    kinds = {name: units[name].name for name in names}
    if len(set(kinds.values())) > 1:
        raise SettingError(
            f"the sites' units are {', '.join(f'{kind} at {name}' for name, kind in kinds.items())}; "
            "expected one kind at all sites, which one epsilon is for"
        )
    return units


@lru_cache(maxsize=256)
def _least_noise(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    return accounting.calibrate_noise_multiplier(epsilon, delta, sample_rate, steps)
