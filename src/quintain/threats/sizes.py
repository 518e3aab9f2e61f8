"""Several threats of one type, in the order of their sizes."""

from collections.abc import Sequence

from quintain.core.errors import SettingError
from quintain.core.threat_specs import threat_type
from quintain.threats.parametric import ParametricThreat
from quintain.threats.threat import Threat


def common_threat_type(threats: Sequence[Threat]) -> str:
    """Return the type that the threats share: ``linf`` of ``linf:4/255``."""
    return threat_type(threats[0].spec)


def sorted_by_size(threats: Sequence[Threat]) -> list[Threat]:
    """Return the threats from the smallest eps up, if they are of one type.

    Raises:
        SettingError: If they are not, or there are none.
    """
    if len({threat_type(threat.spec) for threat in threats}) != 1:
        raise SettingError(
            f"threats {[threat.spec for threat in threats]}; expected at least one, all of one type"
        )
    if len(threats) > 1 and isinstance(threats[0], ParametricThreat):
        raise SettingError(
            f"threats {[threat.spec for threat in threats]}; such changes have no order of size: give one at "
            "a time"
        )
    return sorted(threats, key=lambda threat: threat.eps)
