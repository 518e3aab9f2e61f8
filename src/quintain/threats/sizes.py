"""Several threats of one type, sorted by their eps."""

from collections.abc import Sequence

from quintain.core.errors import SettingError
from quintain.core.threat_specs import threat_type
from quintain.threats.parametric import ParametricThreat
from quintain.threats.threat import Threat


def common_threat_type(threats: Sequence[Threat]) -> str:
    """Return the type that all the threats have: ``linf`` for ``linf:4/255`` and ``linf:8/255``."""
    return threat_type(threats[0].spec)


def sorted_by_size(threats: Sequence[Threat]) -> list[Threat]:
    """Return the threats, all of one type, from the smallest eps to the largest.

    Raises:
        SettingError: If there are none, they are of several types, or they are several parametric threats,
            whose specs have no common scale.
    """
    if len({threat_type(threat.spec) for threat in threats}) != 1:
        raise SettingError(
            f"threats {[threat.spec for threat in threats]}; expected at least one, all of one type"
        )
    if len(threats) > 1 and isinstance(threats[0], ParametricThreat):
        raise SettingError(
            f"threats {[threat.spec for threat in threats]}; parametric threats cannot be sorted by size; "
            "expected one at a time"
        )
    return sorted(threats, key=lambda threat: threat.eps)
