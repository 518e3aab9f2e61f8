"""Epsilon of sums to which each of several sites adds discrete Gaussian noise of its own."""

import math

import numpy as np

from quintain.core.errors import SettingError
from quintain.dp.accounting.rdp import ORDERS, Floats

MIN_VARIANCE = 0.5
"""Below this variance of one share the bound is not proved."""


def distributed_gaussian_rdp(shares: int, variance: float, sensitivity: float, length: int) -> Floats:
    r"""Renyi divergences at ``ORDERS`` of one integer vector plus a sum of discrete Gaussian shares.

    .. math:: R(\alpha) = \min\Big( \frac{\alpha \Delta^2}{2 m v} + \tau d,\;
        \frac{\alpha}{2} \Big( \frac{\Delta}{\sqrt{m v}} + \tau \sqrt d \Big)^2 \Big), \qquad
        \tau = 10 \sum_{k=1}^{m - 1} e^{-2 \pi^2 v k / (k + 1)}

    A sum of discrete Gaussians is no discrete Gaussian, but :math:`\tau` bounds how far it is from one: it is
    below 1e-400 where the share's standard deviation is 10 steps or more.

    Args:
        shares: m, the shares that hide the vector: those of the survivors who do not side with the server.
        variance: v, the parameter of each share, in squared grid steps.
        sensitivity: Delta, the largest Euclidean norm of a site's integer vector, in grid steps.
        length: d, entries of the vector.

    Raises:
        SettingError: If there is no share, or one has a variance below 1/2.

    Guarantee: for blanking one site's vector out, the rest fixed, also when it depends on earlier sums.
    Source: Kairouz, Liu, Steinke, 2021, arXiv:2102.06387, Proposition 14.
    """
    if shares < 1 or variance < MIN_VARIANCE:
        raise SettingError(
            f"{shares} shares of variance {variance:g}; expected at least one, of {MIN_VARIANCE:g} squared "
            "grid steps or more: allow fewer dropouts or corrupt sites, or add more noise"
        )
    tau = 10 * math.fsum(math.exp(-2 * math.pi**2 * variance * k / (k + 1)) for k in range(1, shares))
    ratio = sensitivity / math.sqrt(shares * variance)
    orders = np.array(ORDERS)
    return np.minimum(
        orders / 2 * ratio**2 + tau * length, orders / 2 * (ratio + tau * math.sqrt(length)) ** 2
    )
