"""Measurements of a mechanism that are tested together, with one false alarm probability for all of them."""

from collections.abc import Iterable
from dataclasses import dataclass

from quintain.results.privacy_records import MechanismTest

FALSE_ALARM_PROBABILITY = 1e-6
"""Probability that any of the measurements that are tested together fails although the mechanism is right."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measured property of a mechanism, and what is expected of it.

    Args:
        name: Such as ``noise`` or ``inclusion``.
        expected, measured: The claimed value and the measured one.
        p_value: Probability of such a deviation if the claim is true; 0 or 1 where nothing is random.
        description: What was measured, in words.
        z: The deviation in standard deviations; None where it has none.
    """

    name: str
    expected: float
    measured: float
    p_value: float
    description: str
    z: float | None = None


def bonferroni_tests(measurements: Iterable[Measurement]) -> tuple[MechanismTest, ...]:
    """Return the test of each measurement, at a level that is corrected for their number (Bonferroni).

    Of m measurements, one fails if its p-value is below ``FALSE_ALARM_PROBABILITY / m``.
    """
    tested = tuple(measurements)
    level = FALSE_ALARM_PROBABILITY / max(len(tested), 1)
    return tuple(_test(measurement, level) for measurement in tested)


def _test(measurement: Measurement, level: float) -> MechanismTest:
    """Return the test of a measurement at a significance level, with its message."""
    expected, measured, p_value = measurement.expected, measurement.measured, measurement.p_value
    passed = p_value >= level
    deviation = "" if measurement.z is None else f" (z = {measurement.z:+.1f})"
    verdict = "as stated" if passed else f"not explained by chance (p = {p_value:.1e})"
    message = (
        f"{measurement.description}: expected {expected:.6g}, measured {measured:.6g}{deviation}, {verdict}"
    )
    return MechanismTest(
        name=measurement.name,
        expected=expected,
        measured=measured,
        p_value=p_value,
        passed=passed,
        message=message,
    )
