"""How a family is written as a token and read back: ``rotate=15,shift=3``, with the data box behind it where it is not [0, 1]."""

import re
from collections.abc import Mapping

from quintain.core.errors import SettingError
from quintain.threats import settings

_BOXED = re.compile(r"(?P<options>[^\[\]]*)(\[(?P<low>[^,\[\]]+),(?P<high>[^,\[\]]+)\])?")


def write(kind: str, options: Mapping[str, str], low: float, high: float) -> str:
    """The token of a family: ``spatial:rotate=15,shift=3``; a key that is empty leaves its value bare, as in ``projection:0.3``."""
    size = ",".join(f"{key}={value}" if key else value for key, value in options.items())
    box = "" if (low, high) == (0.0, 1.0) else f"[{low!r},{high!r}]"
    return f"{kind}:{size}{box}" if size or box else kind


def read(kind: str, text: str, keys: tuple[str, ...], *, bare: str = "") -> tuple[dict[str, str], float, float]:
    """The options and the box ``(low, high)`` of what follows the colon of a family's token.

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
        raise SettingError(f"{text!r} cannot be read; expected options such as {kind}:{_example(keys, bare)}, and a box such as [-1.0,1.0]")
    options: dict[str, str] = {}
    for place, part in enumerate(part.strip() for part in match["options"].split(",") if part.strip()):
        key, equals, value = (word.strip() for word in part.partition("="))
        if bare and not place and not equals:
            key, equals, value = bare, "=", part
        if key not in keys or not equals or not value:
            raise SettingError(
                f"{part!r} is no option of {kind}; expected {', '.join(keys) or 'none'}, as in {kind}:{_example(keys, bare)}"
            )
        if key in options:
            raise SettingError(f"{key} is given twice in {text!r}; give it once")
        options[key] = value
    return options, settings.number(match["low"] or "0"), settings.number(match["high"] or "1")


def share(text: str) -> float:
    """A share such as ``5%``, ``0.05`` or ``1/20``.

    Raises:
        SettingError: If it is none of these.
    """
    text = text.strip()
    return settings.number(text[:-1]) / 100 if text.endswith("%") else settings.number(text)


def percent(value: float) -> str:
    """The shortest text that ``share`` reads as this value, in percent where that is exact."""
    text = f"{100 * value:.12g}%"
    return text if share(text) == value else repr(value)


def plain(value: float) -> str:
    """The exact text of an amount; a whole number without its point."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def allowance(kind: str, name: str, value: float, most: float, unit: str) -> float:
    """One of the amounts that an adversary is allowed, as a float.

    Raises:
        SettingError: If it is not a number from 0 to ``most``.
    """
    try:
        amount = settings.check_eps(value)
    except SettingError:
        amount = -1.0
    if not 0 <= amount <= most:
        raise SettingError(f"{kind}: {name} = {value!r}; expected a number from 0 to {most:g} {unit}")
    return amount


def _example(keys: tuple[str, ...], bare: str) -> str:
    return ",".join("0.3" if key == bare else f"{key}=..." for key in keys)
