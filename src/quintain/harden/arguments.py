"""Checks of settings that several defenses have."""

from collections.abc import Sequence

from quintain.core.errors import SettingError
from quintain.core.threat_specs import threat_name
from quintain.threats.arguments import to_threat
from quintain.threats.threat import Threat


def to_supported(threat: Threat | str, supports: Sequence[str]) -> Threat:
    """Return a threat that was given as one, or as its text, and that is of a supported kind.

    Raises:
        SettingError: If it is none, or of another kind.
    """
    found: object = to_threat(threat)
    if not isinstance(found, Threat):
        raise SettingError(f"threat = {found!r}; expected a ball, such as Linf(8/255) or 'linf:8/255'")
    if threat_name(found.spec) not in supports:
        raise SettingError(f"threat = {found.spec}; expected one of {', '.join(supports)}")
    return found


def check_label_smoothing(label_smoothing: float) -> None:
    """Raise if the part of a label that is spread over all classes is out of range.

    Raises:
        SettingError: If it is not in [0, 1).
    """
    if not 0 <= label_smoothing < 1:
        raise SettingError(f"label_smoothing = {label_smoothing}; expected a number in [0, 1), such as 0.1")
