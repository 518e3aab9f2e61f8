"""Settings that must not be too small."""

from numbers import Integral

from quintain.core.errors import SettingError


def at_least(least: int, **settings: int) -> None:
    """Refuse whole-number settings below a limit.

    Raises:
        SettingError: If one is, or is no whole number; the message names it.
    """
    for name, value in settings.items():
        given: object = value
        if not isinstance(given, Integral):
            raise SettingError(f"{name} = {value!r}; expected a whole number, at least {least}")
        if value < least:
            raise SettingError(f"{name} = {value}; expected at least {least}")
