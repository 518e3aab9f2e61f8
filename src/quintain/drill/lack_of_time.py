"""Why a step of a drill is not done where there is too little time for it."""

from quintain.drill.step import Obstacle


def too_long(least: float, left: float, whole: float) -> Obstacle:
    """Return that a step takes too long.

    Args:
        least: Seconds that it takes at its smallest useful size.
        left: Seconds that are left.
        whole: Seconds of the drill.
    """
    minutes = whole / 60
    return Obstacle(
        f"it takes {_seconds(least)} s even at its smallest useful size, and {_seconds(left)} s of "
        f"{minutes:g} minute{'s' * (minutes != 1)} are left for this and for what is worth more",
        f"give --minutes {_more(minutes, least):g} and a new --out, or name fewer steps with --only",
    )


def _more(minutes: float, seconds: float) -> float:
    """Return minutes that would be enough, rounded up to five."""
    return 5 * (1 + (minutes + 1.5 * seconds / 60) // 5)


def _seconds(seconds: float) -> str:
    """Return seconds in words, of which a part of one is not shown as none."""
    return f"{max(seconds, 0):.2g}" if seconds < 10 else f"{seconds:.0f}"
