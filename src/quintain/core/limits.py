"""Refuse whole-number settings that are too small."""

from numbers import Integral

from quintain.core.errors import SettingError


def require_at_least(minimum: int, **settings: int) -> None:
    """Raise for a setting that is no whole number or is below ``minimum``.

    Raises:
        SettingError: If there is one; the message names the first.
    """
    for name, value in settings.items():
        given: object = value  # the caller's types may be wrong
        if not isinstance(given, Integral):
            raise SettingError(f"{name} = {value!r}; expected a whole number, at least {minimum}")
        if value < minimum:
            raise SettingError(f"{name} = {value}; expected at least {minimum}")
