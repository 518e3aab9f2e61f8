"""Refuse settings that are too small."""

from numbers import Integral

from quintain.core.errors import SettingError


def require_at_least(minimum: int, **settings: int) -> None:
    """Refuse whole-number settings below a limit.

    Raises:
        SettingError: If one is, or is no whole number; the message names it.
    """
    for name, value in settings.items():
        given: object = value
        if not isinstance(given, Integral):
            raise SettingError(f"{name} = {value!r}; expected a whole number, at least {minimum}")
        if value < minimum:
            raise SettingError(f"{name} = {value}; expected at least {minimum}")
