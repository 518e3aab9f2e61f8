"""Numbers and specs as people read them."""

import math
from datetime import datetime

from quintain.core import registry, rounding, threat_specs
from quintain.results.quantity import Metric, Side

NO_VALUE = "–"
"""Shown where there is no value."""


def percent(fraction: float | None) -> str:
    """A fraction with one decimal: ``72.9 %``; what is not quite nothing or everything never rounds to it."""
    if fraction is None:
        return NO_VALUE
    if not math.isfinite(fraction):
        return number(fraction)
    if 0 < fraction < 0.0005:
        return "<0.1 %"
    if 0.9995 <= fraction < 1:
        return ">99.9 %"
    return f"{100 * fraction:.1f} %"


def points(difference: float) -> str:
    """A difference of two fractions: ``+1.3 points``."""
    return f"{100 * difference:+.1f} points" if math.isfinite(difference) else number(difference)


def epsilon(value: float | None, side: Side = Side.UPPER) -> str:
    """A privacy loss, infinity included: rounded up, or down if it is a lower side."""
    return NO_VALUE if value is None else rounding.epsilon(value, up=side is Side.UPPER)


def delta(value: float) -> str:
    """The delta of a privacy statement: ``1e-5``."""
    return f"{value:g}".replace("e-0", "e-")


def number(value: float, digits: int = 3) -> str:
    """Any other number, with so many significant digits."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.{digits}g}"


def metric_value(kind: Metric, value: float, side: Side = Side.UPPER) -> str:
    """A value in the manner of its quantity."""
    if kind.is_leak and side is Side.LOWER and 0 < value < 0.0005:
        return percent(0.0)  # "at least <0.1 %" would say nothing
    return epsilon(value, side) if kind is Metric.EPSILON else percent(value)


def interval(kind: Metric, low: float, high: float) -> str:
    """An interval: ``69.2 .. 77.4 %``."""
    return (
        f"{epsilon(low, Side.LOWER)} .. {epsilon(high)}"
        if kind is Metric.EPSILON
        else percent_interval(low, high)
    )


def percent_interval(low: float, high: float) -> str:
    """An interval of fractions: ``69.2 .. 77.4 %``."""
    return f"{percent(low).removesuffix(' %')} .. {percent(high)}"


def eps_text(eps: float) -> str:
    """A size of change as specs write it: ``4/255`` where it is a short fraction, else a decimal."""
    if not math.isfinite(eps):
        return number(eps)
    steps = round(eps * 255)
    if eps != round(eps, 3) and steps and abs(eps * 255 - steps) < 1e-9:
        return f"{steps}/255"
    return number(eps, 4)


def eps_of(spec: str) -> float:
    """The size in a threat's spec, NaN where it names none: ``linf:4/255`` is 4/255."""
    try:
        return threat_specs.parse_number(threat_specs.size_text(spec))
    except ValueError:
        return math.nan


def threat_text(spec: str) -> str:
    """A threat for people: ``Linf 4/255``."""
    name, colon, rest = spec.partition(":")
    return f"{name.capitalize()} {rest}" if colon else spec


def seconds(value: float) -> str:
    """A duration: ``21 ms``, ``6.3 s``, ``3 min 41 s``, ``1 h 2 min``."""
    if not math.isfinite(value):
        return number(value)
    if value < 0.095:
        return f"{1000 * value:.0f} ms"
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def training_time(value: float) -> str:
    """The duration of a training; of a model that came trained, which takes none, ``given``."""
    return seconds(value) if value else "given"


def size_in_bytes(count: float) -> str:
    """A number of bytes: ``69 kB``."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.5 else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def decibels(value: float | None) -> str:
    """A signal-to-noise ratio; infinite where two pictures are equal, None where there is no picture."""
    if value is None:
        return NO_VALUE
    return f"{value:.1f} dB" if math.isfinite(value) else f"{number(value)} dB"


def date(text: str) -> str:
    """An ISO 8601 time to the minute, or the text itself where it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return (
        f"{moment.day} {moment:%b %Y, %H:%M}"
        f"{' UTC' if moment.utcoffset() is not None and not moment.utcoffset() else ''}"
    )


def short_hash(digest: str) -> str:
    """The head of a hash."""
    return digest.rpartition(":")[2][:8]


def count(many: int, one: str, more: str | None = None) -> str:
    """``1 example``, ``2 examples``."""
    return f"{many:,} {one if many == 1 else more or one + 's'}"


def noun(data: str) -> str:
    """What the examples of a data set are called, in the plural: by its registered entry, if it has one."""
    entry = registry.entries("dataset").get(data.partition(".")[0])
    return entry.fact("noun", "examples") if entry else "examples"
