"""Threats written as text and read back.

``linf:8/255`` for balls, ``spatial:rotate=15,shift=3`` for parametric threats.
"""

import math
import re
from collections.abc import Mapping
from numbers import Real

from quintain.core import threat_specs
from quintain.core.errors import SettingError

_TOKEN = re.compile(r"(?P<eps>[^\[\]]+)(\[(?P<low>[^,\[\]]+),(?P<high>[^,\[\]]+)\])?")
_BOXED = re.compile(r"(?P<options>[^\[\]]*)(\[(?P<low>[^,\[\]]+),(?P<high>[^,\[\]]+)\])?")


def check_box(low: float, high: float) -> tuple[float, float]:
    """Return the data box as floats.

    Raises:
        SettingError: If a side is not a finite number, or ``low`` is not below ``high``.
    """
    if not (
        _is_number(low) and _is_number(high) and math.isfinite(low) and math.isfinite(high) and low < high
    ):
        raise SettingError(
            f"the data box is [{low}, {high}]; expected finite numbers with low < high, such as [0, 1]"
        )
    return float(low), float(high)


def check_eps(eps: float) -> float:
    """Return a radius as a float.

    Raises:
        SettingError: If it is not a number, negative or not finite.
    """
    if not _is_number(eps):
        raise SettingError(
            f"eps = {eps!r} is not a number; expected one such as 8/255, or a token given to parse, such as "
            "'linf:8/255'"
        )
    if not (math.isfinite(eps) and eps >= 0):
        raise SettingError(
            f"eps = {eps:g}; expected a finite number of at least 0, in the units of the data, such as 8/255"
        )
    return float(eps)


def _is_number(value: object) -> bool:
    return isinstance(value, Real)


def write_ball(kind: str, eps: float, low: float, high: float) -> str:
    """Return the exact spec of a ball: ``linf:8/255``, ``l2:0.5``, ``linf:0.1[-1.0,1.0]``.

    Reading it gives the same ball, bit for bit.
    """
    levels = round(eps * 255) if eps < 1 else 0
    size = f"{levels}/255" if levels and levels / 255 == eps else repr(eps)
    return f"{kind}:{size}" if (low, high) == (0.0, 1.0) else f"{kind}:{size}[{low!r},{high!r}]"


def read_ball(text: str) -> tuple[float, float, float]:
    """``(eps, low, high)`` of what follows the colon of a ball's spec.

    Raises:
        SettingError: If it is not of the form ``8/255``, ``0.5`` or ``0.1[-1.0,1.0]``.
    """
    match = _TOKEN.fullmatch(text.strip())
    if match is None:
        raise SettingError(
            f"the size {text!r} cannot be read; expected a form such as 8/255, 0.5 or 0.1[-1.0,1.0]"
        )
    return number(match["eps"]), number(match["low"] or "0"), number(match["high"] or "1")


def number(text: str) -> float:
    """Return a decimal number or a fraction such as ``8/255``.

    Raises:
        SettingError: If it is neither.
    """
    try:
        return threat_specs.parse_number(text)
    except ValueError as error:
        raise SettingError(
            f"{text.strip()!r} is not a number; expected a decimal or a fraction, such as 0.5 or 8/255"
        ) from error


def write_options(kind: str, options: Mapping[str, str], low: float, high: float) -> str:
    """Return the spec of a parametric threat: ``spatial:rotate=15,shift=3``.

    A key that is empty leaves its value bare, as in ``light:0.3``.
    """
    size = ",".join(f"{key}={value}" if key else value for key, value in options.items())
    box = "" if (low, high) == (0.0, 1.0) else f"[{low!r},{high!r}]"
    return f"{kind}:{size}{box}" if size or box else kind


def read_options(
    kind: str, text: str, keys: tuple[str, ...], *, bare: str = ""
) -> tuple[dict[str, str], float, float]:
    """Return the options and the box ``(low, high)`` of what follows the colon of a parametric threat's spec.

    Args:
        kind: The family, for messages.
        text: What follows the colon.
        keys: The options that there are.
        bare: The option that may be written first without its key.

    Raises:
        SettingError: If an option is not of the form ``key=value``, is unknown or is given twice.
    """
    match = _BOXED.fullmatch(text.strip())
    if match is None:
        raise SettingError(
            f"{text!r} cannot be read; expected options such as {kind}:{_example(keys, bare)}, and a box "
            "such as [-1.0,1.0]"
        )
    options: dict[str, str] = {}
    for index, part in enumerate(part.strip() for part in match["options"].split(",") if part.strip()):
        key, equals, value = (word.strip() for word in part.partition("="))
        if bare and not index and not equals:
            key, equals, value = bare, "=", part
        if key not in keys or not equals or not value:
            raise SettingError(
                f"{part!r} is no option of {kind}; expected {', '.join(keys) or 'none'}, as in "
                f"{kind}:{_example(keys, bare)}"
            )
        if key in options:
            raise SettingError(f"{key} is given twice in {text!r}; give it once")
        options[key] = value
    return options, number(match["low"] or "0"), number(match["high"] or "1")


def read_fraction(text: str) -> float:
    """Return a fraction such as ``5%``, ``0.05`` or ``1/20``.

    Raises:
        SettingError: If it is none of these.
    """
    text = text.strip()
    return number(text[:-1]) / 100 if text.endswith("%") else number(text)


def format_percent(value: float) -> str:
    """Return the shortest text that ``read_fraction`` reads as this value, in percent where that is exact."""
    text = f"{100 * value:.12g}%"
    return text if read_fraction(text) == value else repr(value)


def format_number(value: float) -> str:
    """Return the exact text of an amount; a whole number without its point."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def check_amount(kind: str, name: str, value: float, most: float, unit: str) -> float:
    """One of the amounts that an adversary is allowed, as a float.

    Raises:
        SettingError: If it is not a number from 0 to ``most``.
    """
    try:
        amount = check_eps(value)
    except SettingError:
        amount = -1.0
    if not 0 <= amount <= most:
        raise SettingError(f"{kind}: {name} = {value!r}; expected a number from 0 to {most:g} {unit}")
    return amount


def _example(keys: tuple[str, ...], bare: str) -> str:
    return ",".join("0.3" if key == bare else f"{key}=..." for key in keys)
