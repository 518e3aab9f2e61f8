"""Neighboring sums: what differs between two sums is the update of who is in one of them alone."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from quintain.core.registry import declare


@declare(
    name="neighboring-sums",
    summary="one site's update from two sums that differ in it (what a server sees of two rounds)",
    guarantee="a witness: exact over one model; over two it is off by what the other updates changed by",
    kind="leak",
    goal="updates",
    access="sum",
)
def subtract_sums(
    before: NDArray[np.float64],
    sites_before: Collection[str],
    now: NDArray[np.float64],
    sites_now: Collection[str],
) -> tuple[str, NDArray[np.float64]] | None:
    """Return the site that is in exactly one of two sums, and the guess at its update.

    Args:
        before, now: (length,) the sums.
        sites_before, sites_now: Whose vectors are in them.

    Returns:
        None unless it is exactly one site.
    """
    apart = set(sites_before) ^ set(sites_now)
    if len(apart) != 1:
        return None
    (site,) = apart
    return site, (before - now) if site in sites_before else (now - before)
