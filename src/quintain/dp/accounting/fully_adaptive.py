"""Epsilon where settings were chosen after seeing releases (fully adaptive composition)."""

from collections.abc import Sequence

import numpy as np

from quintain.dp.accounting import rdp
from quintain.dp.accounting.release import Release

ORDERS = (2, 3, 4, 6, 8, 12, 16, 24, 48, 128)
"""Orders of the divergences, fixed before any release; delta is divided in proportion to 1 / order."""


def all_fixed_beforehand(releases: Sequence[Release]) -> bool:
    """Whether all settings, schedules among them, were fixed before the first release."""
    return all(release.choice == 0 for release in releases)


def adaptive_epsilon_from_rdp(divergences: rdp.Floats, delta: float) -> float:
    r"""Epsilon from Renyi divergences at ``rdp.ORDERS``, summed over releases whose settings were adaptive.

    .. math:: \varepsilon_T = \min_{\alpha} \sum_{t \le T} R_t(\alpha) + \log(1 - 1/\alpha)
        - \frac{\log(w_\alpha \delta\, \alpha)}{\alpha - 1}, \qquad \sum_\alpha w_\alpha = 1

    Guarantee: noise, rates, the number of releases and thus :math:`\varepsilon_T` itself may depend on
    earlier releases, but on nothing else of the data. With L the privacy loss of all T releases,

    .. math:: \mathbb{E}\, (1 - e^{\varepsilon_T - L})_+ \le \delta,

    which is (epsilon, delta)-differential privacy for every epsilon that :math:`\varepsilon_T` cannot exceed;
    ``stop_at_epsilon`` sets such an epsilon. For one order,
    :math:`e^{(\alpha - 1)(L_t - \sum_{s \le t} R_s(\alpha))}` is a supermartingale, since each divergence is
    known before its release. With the inequality, for all l,

    .. math:: (1 - e^{\varepsilon - l})_+ \le
        \frac{1}{\alpha} (1 - \frac{1}{\alpha})^{\alpha - 1} e^{(\alpha - 1)(l - \varepsilon)},

    the expectation is at most :math:`w_\alpha \delta`; the union bound over the orders lets the least be
    taken.

    Source: Feldman, Zrnic, 2021, arXiv:2008.11193 (the supermartingale of one order); Canonne, Kamath,
    Steinke, 2020, arXiv:2004.00010 (the conversion); that privacy loss distributions do not compose so:
    arXiv:2602.15815.
    """
    orders = np.array(ORDERS)
    weights = (1 / orders) / (1 / orders).sum()
    rdp_at_orders = divergences[np.searchsorted(rdp.ORDERS, orders)]
    return max(
        0.0,
        float(
            (rdp_at_orders + np.log1p(-1 / orders) - np.log(weights * delta * orders) / (orders - 1)).min()
        ),
    )
