"""Settings that must not be too small."""

from quintain.core.errors import SettingError


def at_least(least: int, **settings: int) -> None:
    """Refuse whole-number settings below a limit.

    Raises:
        SettingError: If one is; the message names it.
    """
    for name, value in settings.items():
        if value < least:
            raise SettingError(f"{name} = {value}; expected at least {least}")
