"""The fixed groups of a roster whose sums the server sees: who is in each, and under which terms it sums."""

from dataclasses import replace

import numpy as np

from quintain.core.errors import SettingError
from quintain.federated.secagg.policy import Policy, default_threshold

MIN_GROUP_SIZE, MIN_GROUPS = 3, 3


def groups_of(num_sites: int, group_size: int = MIN_GROUP_SIZE) -> tuple[tuple[int, ...], ...]:
    """Return the fixed groups: blocks of the roster of the given size, the first ones with one more.

    Raises:
        SettingError: If groups are too small or too few.
    """
    count = num_sites // group_size if group_size >= 1 else 0
    if group_size < MIN_GROUP_SIZE or count < MIN_GROUPS:
        raise SettingError(
            f"{num_sites} sites in groups of {group_size}; expected at least {MIN_GROUPS} groups of at least "
            f"{MIN_GROUP_SIZE}: fewer sites in a sum are hidden by too few, and of two groups no median "
            f"tells which is bad. With fewer than {MIN_GROUPS * MIN_GROUP_SIZE} sites no robust average "
            "together with secure sums is possible; a clip of the norm binds honest sites only"
        )
    return tuple(tuple(map(int, block)) for block in np.array_split(np.arange(num_sites), count))


def min_groups(count: int) -> int:
    """Return how many of so many groups must come to a sum, for a robust average of them."""
    return max(MIN_GROUPS, count // 2 + 1)


def min_members(size: int, num_sites: int, min_survivors: int) -> int:
    """Return the fewest sites of a group of this size whose sum its members open, under a plan for all sites.

    As many as its threshold; and where fewer than that may be missing of all sites, as many as these leave:
    with ``min_survivors`` of all sites, no two sums of a group differ in their sites.
    """
    return max(2, default_threshold(size), size - (num_sites - min_survivors))


def group_policy(policy: Policy, members: tuple[int, ...]) -> Policy:
    """Return the terms of a group's sum: those of the round, for fewer sites.

    Raises:
        SettingError: If the sites have unequal weights, or more may side with the server than a group stands.
    """
    roster, weights = policy.roster, policy.task.weights
    if len(set(weights)) > 1:
        raise SettingError(
            "a robust average over groups of sites with unequal weights; expected equal ones, since one site "
            "must not outweigh a group"
        )
    return replace(
        policy,
        roster=replace(
            roster, names=roster.names_of(members), keys=tuple(roster.keys[site] for site in members)
        ),
        threshold=default_threshold(len(members)),
        min_survivors=min_members(len(members), len(roster), policy.min_survivors),
        encoding=replace(policy.encoding, num_sites=len(members)),
        task=replace(policy.task, weights=tuple(weights[site] for site in members) if weights else ()),
    )
