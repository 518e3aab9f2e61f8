"""The settings that every ball shares: checked, written as a token, and read back."""

import math
import re
from numbers import Real

from quintain.core import tokens
from quintain.core.errors import SettingError

_TOKEN = re.compile(r"(?P<eps>[^\[\]]+)(\[(?P<low>[^,\[\]]+),(?P<high>[^,\[\]]+)\])?")


def check_box(low: float, high: float) -> tuple[float, float]:
    """The data box as floats.

    Raises:
        SettingError: If a side is not a finite number, or ``low`` is not below ``high``.
    """
    if not (_is_number(low) and _is_number(high) and math.isfinite(low) and math.isfinite(high) and low < high):
        raise SettingError(f"the data box is [{low}, {high}]; expected finite numbers with low < high, such as [0, 1]")
    return float(low), float(high)


def check_eps(eps: float) -> float:
    """A radius as a float.

    Raises:
        SettingError: If it is not a number, negative or not finite.
    """
    if not _is_number(eps):
        raise SettingError(f"eps = {eps!r} is not a number; expected one such as 8/255, or a token given to parse, such as 'linf:8/255'")
    if not (math.isfinite(eps) and eps >= 0):
        raise SettingError(f"eps = {eps:g}; expected a finite number of at least 0, in the units of the data, such as 8/255")
    return float(eps)


def _is_number(value: object) -> bool:
    return isinstance(value, Real)


def write(kind: str, eps: float, low: float, high: float) -> str:
    """The exact token of a ball: ``linf:8/255``, ``l2:0.5``, ``linf:0.1[-1.0,1.0]``; reading it gives the same ball, bit for bit."""
    levels = round(eps * 255) if eps < 1 else 0
    size = f"{levels}/255" if levels and levels / 255 == eps else repr(eps)
    return f"{kind}:{size}" if (low, high) == (0.0, 1.0) else f"{kind}:{size}[{low!r},{high!r}]"


def read(text: str) -> tuple[float, float, float]:
    """``(eps, low, high)`` of what follows the colon of a ball's token.

    Raises:
        SettingError: If it is not of the form ``8/255``, ``0.5`` or ``0.1[-1.0,1.0]``.
    """
    match = _TOKEN.fullmatch(text.strip())
    if match is None:
        raise SettingError(f"the size {text!r} cannot be read; expected a form such as 8/255, 0.5 or 0.1[-1.0,1.0]")
    return number(match["eps"]), number(match["low"] or "0"), number(match["high"] or "1")


def number(text: str) -> float:
    """A decimal number or a fraction such as ``8/255``.

    Raises:
        SettingError: If it is neither.
    """
    try:
        return tokens.number(text)
    except ValueError as error:
        raise SettingError(f"{text.strip()!r} is not a number; expected a decimal or a fraction, such as 0.5 or 8/255") from error
