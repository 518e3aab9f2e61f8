"""Published and closed-form figures of privacy that accountants are held to."""

import math

from scipy.optimize import brentq
from scipy.special import log_ndtr

ROWS = [
    (256 / 60000, 1.1, 3516, 1e-5, 1.1339, 1.2813),
    (256 / 60000, 1.1, 14064, 1e-5, 2.3819, 2.5968),
    (0.01, 4.0, 10000, 1e-5, 0.9470, 1.0355),
    (0.01, 1.0, 1000, 1e-5, 1.8282, 2.1014),
    (0.01, 1.0, 10000, 1e-5, 6.1877, 6.7128),
    (0.02, 0.8, 3000, 1e-5, 11.4111, 12.5229),
    (0.001, 0.8, 10000, 1e-6, 0.9472, 1.7036),
    (4096 / 50000, 3.0, 875, 1e-5, 3.6016, 3.9102),
    (0.5, 10.0, 100, 1e-5, 2.0153, 2.1932),
    (2048 / 60000, 2.15, 1172, 1e-5, 2.3895, 2.6055),
    (512 / 4708, 2.0, 276, 1e-4, 3.7822, 4.1973),
    (64 / 4708, 1.0, 735, 1e-4, 1.8224, 2.1075),
    (0.1, 0.5, 1, 1e-5, 6.5755, 7.3553),
    (1e-4, 0.5, 100000, 1e-7, 3.6879, 4.6952),
    (1.0, 1.0, 1, 1e-5, 4.3772, 4.7285),
    (1.0, 10.0, 100, 1e-5, 4.3772, 4.7285),
]
"""Sample rate, noise multiplier, steps, delta; epsilon by privacy loss distributions (grid 1e-4) and by Renyi
divergences.
"""

GAUSSIAN = {0.5: 9.9973, 1.0: 4.3772, 2.0: 1.9931, 5.0: 0.7255, 10.0: 0.3407}
"""Epsilon of the Gaussian mechanism at delta 1e-5, by sigma."""


def gaussian_log_delta(eps: float, sigma: float) -> float:
    """Exact log delta of the Gaussian mechanism of sensitivity 1 (Balle and Wang, 2018)."""
    first, second = (
        float(log_ndtr(0.5 / sigma - eps * sigma)),
        eps + float(log_ndtr(-0.5 / sigma - eps * sigma)),
    )
    return first + math.log1p(-math.exp(second - first)) if second < first else -math.inf


def gaussian_epsilon(sigma: float, delta: float) -> float:
    """Its epsilon."""
    return float(brentq(lambda eps: gaussian_log_delta(eps, sigma) - math.log(delta), 0, 1e6, xtol=1e-9))
