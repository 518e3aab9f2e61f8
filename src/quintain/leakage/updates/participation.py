"""Participation matrix: sums of many rounds, and who was in each, give away single sites."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import SettingError
from quintain.core.registry import declare

IDENTIFIED = 1e-8
"""How near a site's unit vector must be to the span of the rounds to count as determined by them."""


@declare(
    name="participation-matrix",
    summary="mean updates of single sites from the sums of many rounds and who was in each",
    guarantee="a witness: exact if sites send the same in all rounds; off by what their updates change",
    kind="leak",
    goal="updates",
    access="sum",
)
def solve_participation(
    sums: Sequence[NDArray[np.float64]], cohorts: Sequence[Collection[str]]
) -> dict[str, NDArray[np.float64]]:
    r"""Return a guess at the mean update of each site that the cohorts determine.

    .. math:: \min_U \|P U - S\|_F, \qquad P_{ri} = 1 \text{ where site } i \text{ is in round } r

    A site is determined if its unit vector is a combination of rounds; the others are not in the result, such
    as all of them where every round has the same sites.

    Args:
        sums: (length,) each, of the rounds.
        cohorts: Whose vectors are in each.

    Raises:
        SettingError: If there is not one cohort for each sum.

    Source: Lam, Wei, Cormode, Mitzenmacher, 2021, arXiv:2106.06089, with known participation.
    """
    if not sums or len(sums) != len(cohorts):
        raise SettingError(f"{len(sums)} sums and {len(cohorts)} cohorts; expected one each, at least one")
    sites = sorted(set().union(*cohorts))
    matrix = np.array([[site in cohort for site in sites] for cohort in cohorts], dtype=float)
    inverse = np.linalg.pinv(matrix)
    guesses = inverse @ np.stack(sums)
    # The projection on the span of the rounds leaves the unit vectors of determined sites alone.
    determined = np.abs(inverse @ matrix - np.eye(len(sites))).max(axis=1) < IDENTIFIED
    return {site: guesses[place] for place, site in enumerate(sites) if determined[place]}
