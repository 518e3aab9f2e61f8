"""What attacks and proofs of one model share: rising sizes of one ball, and columns of examples."""

from collections.abc import Sequence

import numpy as np

from quintain.core import threat_specs
from quintain.core.errors import SettingError
from quintain.data.dataset import Dataset
from quintain.results.per_example import PerExample
from quintain.threats.parametric import ParametricThreat
from quintain.threats.threat import Threat


def ball_of(threats: Sequence[Threat]) -> str:
    """What the sizes are sizes of: ``linf`` of ``linf:4/255``."""
    return threat_specs.threat_type(threats[0].spec)


def rising(threats: Sequence[Threat]) -> list[Threat]:
    """The threats from the smallest, if they are of one kind.

    Raises:
        SettingError: If they are not, or there are none.
    """
    if len({threat_specs.threat_type(threat.spec) for threat in threats}) != 1:
        raise SettingError(f"threats {[threat.spec for threat in threats]}; expected at least one, all of one kind")
    if len(threats) > 1 and isinstance(threats[0], ParametricThreat):
        raise SettingError(f"threats {[threat.spec for threat in threats]}; such changes have no order of size: give one at a time")
    return sorted(threats, key=lambda threat: threat.eps)


def examples(data: Dataset, predicted: np.ndarray, safe: np.ndarray, broken: np.ndarray, failed: np.ndarray) -> PerExample:
    """Columns of N examples as a record keeps them."""
    return PerExample(
        tuple(range(len(data))),
        tuple(int(label) for label in data.labels),
        tuple(int(answer) for answer in predicted),
        tuple(float(radius) for radius in safe),
        tuple(float(radius) for radius in broken),
        tuple(bool(flag) for flag in failed),
    )
