"""Checks of settings that several defenses have."""

from quintain.core.errors import SettingError
from quintain.threats.arguments import to_threat
from quintain.threats.threat import Threat


def to_ball(threat: Threat | str) -> Threat:
    """Return a threat that was given as one, or as its text.

    Raises:
        SettingError: If it is neither.
    """
    found: object = to_threat(threat)
    if not isinstance(found, Threat):
        raise SettingError(f"threat = {found!r}; expected a ball, such as Linf(8/255) or 'linf:8/255'")
    return found


def check_label_smoothing(label_smoothing: float) -> None:
    """Raise if the part of a label that is spread over all classes is out of range.

    Raises:
        SettingError: If it is not in [0, 1).
    """
    if not 0 <= label_smoothing < 1:
        raise SettingError(f"label_smoothing = {label_smoothing}; expected a number in [0, 1), such as 0.1")
