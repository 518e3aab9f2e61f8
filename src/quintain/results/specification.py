"""Measurements of a mechanism, judged together.

How often one that keeps its promise sounds the alarm is said once, over all.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from quintain.results.privacy_records import MechanismTest

FALSE_ALARM_PROBABILITY = 1e-6
"""The probability that any of the measurements that are judged together fails, though the mechanism is as
promised.
"""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number that was measured, and the one that was promised.

    Args:
        name: Such as ``noise`` or ``inclusion``.
        expected, measured: The promised and the found number.
        p_value: Chance of a deviation like this if the promise holds; 0 or 1 where no chance is involved.
        description: For people: what was measured.
        z: The deviation in standard deviations, where it has one.
    """

    name: str
    expected: float
    measured: float
    p_value: float
    description: str
    z: float | None = None


def bonferroni_tests(measurements: Iterable[Measurement]) -> tuple[MechanismTest, ...]:
    """Return each measurement with its verdict, after Bonferroni.

    Of m together, one fails below a chance of ``FALSE_ALARM / m``.
    """
    together = tuple(measurements)
    level = FALSE_ALARM_PROBABILITY / max(len(together), 1)
    return tuple(_test(one, level) for one in together)


def _test(one: Measurement, level: float) -> MechanismTest:
    passed = one.p_value >= level
    apart = "" if one.z is None else f" (z = {one.z:+.1f})"
    verdict = "as stated" if passed else f"not explained by chance (p = {one.p_value:.1e})"
    text = f"{one.description}: expected {one.expected:.6g}, measured {one.measured:.6g}{apart}, {verdict}"
    return MechanismTest(one.name, one.expected, one.measured, one.p_value, passed, text)
