"""Which sites of a simulated federated training fall silent, in which rounds, and at which stage."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quintain.core.errors import SettingError
from quintain.core.seeds import derive_seed
from quintain.federated.fixed_groups import min_groups, min_members
from quintain.federated.secagg.messages import MessageType
from quintain.federated.transport import DropoutStage

Dropouts = dict[int, dict[str, DropoutStage]]


@dataclass(frozen=True, slots=True)
class DropoutRates:
    """How many sites fall silent in each round.

    Args:
        fraction: Of the sites, rounded down, that drop out: drawn anew in each round, at stages in turn.
        stragglers: Sites whose vector comes after the deadline, besides.

    Raises:
        SettingError: If one is out of range.
    """

    fraction: float = 0.0
    stragglers: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.fraction < 1:
            raise SettingError(
                f"drop = {self.fraction:g}; expected a fraction of the sites, from 0 to below 1"
            )
        if self.stragglers < 0:
            raise SettingError(f"stragglers = {self.stragglers}; expected 0 sites or more")

    def num_dropped(self, num_sites: int) -> int:
        """Return how many sites drop out of each round."""
        # 0.3 times 10 is a little less than 3 in floating point
        return math.floor(self.fraction * num_sites + 1e-9)

    def num_silent(self, num_sites: int) -> int:
        """Return how many sites' vectors may be missing from each sum."""
        return self.num_dropped(num_sites) + self.stragglers


def planned_dropouts(
    names: Sequence[str], rounds: int, rates: DropoutRates, replies: Sequence[MessageType], seed: int
) -> Dropouts:
    """Draw the sites that fall silent in each round.

    Args:
        names: All sites.
        rounds: How many rounds there are.
        rates: How many sites.
        replies: Those of the aggregation: at the others of secure aggregation nobody can drop out.
        seed: Decides which sites.
    """
    stages = [
        stage for stage in DropoutStage if stage is not DropoutStage.LATE and stage.first_missing in replies
    ]
    dropped, silent = rates.num_dropped(len(names)), rates.num_silent(len(names))
    planned: Dropouts = {}
    for index in range(rounds if silent else 0):
        order = np.random.default_rng(derive_seed(seed, "dropouts", index)).permutation(len(names))
        planned[index] = {
            names[site]: stages[(index * dropped + k) % len(stages)] if k < dropped else DropoutStage.LATE
            for k, site in enumerate(order[:silent])
        }
    return planned


def check_dropout_rates(
    rates: DropoutRates, num_sites: int, min_survivors: int, group_sizes: Sequence[int] = ()
) -> None:
    """Refuse more silent sites than a round stands, and a fraction of the sites that is none of them.

    Args:
        rates: How many sites fall silent.
        num_sites: Of how many.
        min_survivors: The fewest sites in a sum of all, or in the sums of groups together.
        group_sizes: Sites in each group, where a robust average over sums of groups is taken in place of
            that sum.

    Raises:
        SettingError: If fewer sites, or groups whose sum can be opened, would be left than are needed; or a
            fraction of the sites is given that rounds down to none.
    """
    if rates.fraction and not rates.num_dropped(num_sites):
        # rounded up, so that the fraction that is named is one site indeed
        least = math.ceil(10_000 / num_sites) / 10_000
        raise SettingError(
            f"drop = {rates.fraction:g} of {num_sites} sites is less than one, so that no site would drop "
            f"out; expected at least {least:g}, which is one site, or 0 for none"
        )
    silent = rates.num_silent(num_sites)
    if group_sizes:
        _check_groups(rates, min_survivors, group_sizes)
    elif num_sites - silent < min_survivors:
        raise SettingError(
            f"drop = {rates.fraction:g} and stragglers = {rates.stragglers} silence {silent} of "
            f"{num_sites} sites in each round, and a sum needs {min_survivors}: expected at most "
            f"{num_sites - min_survivors} silent ones, or more sites"
        )


def _check_groups(rates: DropoutRates, min_survivors: int, group_sizes: Sequence[int]) -> None:
    """Refuse so many silent sites that too few groups, or too few sites in them, may come to a sum."""
    num_sites, needed = sum(group_sizes), min_groups(len(group_sizes))
    silent = rates.num_silent(num_sites)
    left = _fewest_left(num_sites, min_survivors, group_sizes)
    stands = [groups >= needed and sites >= min_survivors for groups, sites in left]
    if silent > num_sites or not stands[silent]:
        most = max(stands.index(False) - 1, 0)
        groups, sites = left[min(silent, num_sites)]
        raise SettingError(
            f"drop = {rates.fraction:g} and stragglers = {rates.stragglers} silence {silent} of "
            f"{num_sites} sites in each round, which may leave {groups} of {len(group_sizes)} groups with a "
            f"sum, of {sites} sites, and the robust average needs {needed} of these sums, of {min_survivors} "
            f"sites in all: expected at most {most} silent ones, or more sites"
        )


def _fewest_left(num_sites: int, min_survivors: int, group_sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Return the fewest groups, and the fewest sites in them, for each number of silent sites from 0 on.

    Each is that of the worst places of the silent sites, which need not be the same for both.
    """
    # A group breaks off once a site too many is silent, and its other sites are lost with it: the most that
    # can be lost by so many silent sites, group by group (a knapsack).
    lost = [(0, 0)] * (num_sites + 1)
    for size in group_sizes:
        fewest = min_members(size, num_sites, min_survivors)
        cost, others = size - fewest + 1, fewest - 1
        for silent in range(num_sites, cost - 1, -1):
            groups, sites = lost[silent - cost]
            lost[silent] = max(lost[silent][0], groups + 1), max(lost[silent][1], sites + others)
    return [
        (len(group_sizes) - groups, max(num_sites - silent - sites, 0))
        for silent, (groups, sites) in enumerate(lost)
    ]
