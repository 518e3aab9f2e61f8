"""Epsilon of a run whose settings were chosen after seeing earlier releases (fully adaptive composition)."""

from collections.abc import Sequence

import numpy as np

from quintain.dp.accounting import rdp
from quintain.dp.accounting.release import Release

ORDERS = (2, 3, 4, 6, 8, 12, 16, 24, 48, 128)
"""Renyi orders out of ``rdp.ORDERS``, fixed before any release; delta is divided in proportion to 1/order."""


def all_fixed_beforehand(releases: Sequence[Release]) -> bool:
    """Whether all settings, schedules among them, were fixed before the first release."""
    return all(release.choice == 0 for release in releases)


def adaptive_epsilon_from_rdp(divergences: rdp.Floats, delta: float) -> float:
    r"""Epsilon from Renyi divergences at ``rdp.ORDERS``, summed over releases whose settings were adaptive.

    .. math:: \varepsilon_T = \min_{\alpha} \sum_{t \le T} R_t(\alpha) + \log(1 - 1/\alpha)
        - \frac{\log(w_\alpha \delta\, \alpha)}{\alpha - 1}, \qquad \sum_\alpha w_\alpha = 1

    Args:
        divergences: :math:`\sum_t R_t` at each order of ``rdp.ORDERS``.
        delta: In (0, 1).

    Guarantee: noise, sampling rates, the number of releases and thus :math:`\varepsilon_T` itself may depend
    on earlier releases, but on nothing else of the data. With L the privacy loss of all T releases,

    .. math:: \mathbb{E}\, (1 - e^{\varepsilon_T - L})_+ \le \delta,

    which is (epsilon, delta)-differential privacy for every epsilon that :math:`\varepsilon_T` cannot exceed;
    ``stop_at_epsilon`` sets such an epsilon. For one order,
    :math:`e^{(\alpha - 1)(L_t - \sum_{s \le t} R_s(\alpha))}` is a supermartingale, since each divergence is
    known before its release. With the inequality, for all l,

    .. math:: (1 - e^{\varepsilon - l})_+ \le
        \frac{1}{\alpha} (1 - \frac{1}{\alpha})^{\alpha - 1} e^{(\alpha - 1)(l - \varepsilon)},

    the expectation is at most :math:`w_\alpha \delta`. Summed over the orders that is :math:`\delta`, so that
    the least epsilon of all orders may be taken.

    Source: Feldman, Zrnic, 2021, arXiv:2008.11193 (the supermartingale of one order); Canonne, Kamath,
    Steinke, 2020, arXiv:2004.00010 (the conversion). Privacy loss distributions do not compose in this way:
    arXiv:2602.15815.
    """
    orders = np.array(ORDERS)
    weights = (1 / orders) / (1 / orders).sum()
    rdp_at_orders = divergences[np.searchsorted(rdp.ORDERS, orders)]
    # the conversion of Canonne, Kamath and Steinke at each order, with its part of delta
    candidates = rdp_at_orders + np.log1p(-1 / orders) - np.log(weights * delta * orders) / (orders - 1)
    # an epsilon below 0 says nothing more than 0 does
    return max(0.0, float(candidates.min()))
