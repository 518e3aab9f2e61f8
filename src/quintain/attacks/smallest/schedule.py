"""How the steps of a search for the smallest change fall."""

import math


def falling(first: float, share: float, step: int, steps: int) -> float:
    r"""A cosine from ``first`` at step 0 down to ``share`` of it after the last.

    .. math:: first \cdot \big(share + (1 - share) \tfrac12 (1 + \cos(\pi\, step / steps))\big)
    """
    return first * (share + (1 - share) * (1 + math.cos(math.pi * step / steps)) / 2)
