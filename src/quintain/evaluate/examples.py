"""What attacks and proofs of one model share: rising sizes of one ball, and columns of examples."""

from collections.abc import Sequence

import numpy as np

from quintain.core.errors import SettingError
from quintain.data.dataset import Dataset
from quintain.results.states import PerExample
from quintain.threats.ball import Ball


def ball_of(threats: Sequence[Ball]) -> str:
    """The kind of ball: ``linf`` of ``linf:4/255``."""
    return threats[0].token.partition(":")[0]


def rising(threats: Sequence[Ball]) -> list[Ball]:
    if len({type(threat) for threat in threats}) != 1:
        raise SettingError(f"threats {[threat.token for threat in threats]}; expected at least one, all of one kind")
    return sorted(threats, key=lambda threat: threat.eps)


def examples(data: Dataset, predicted: np.ndarray, safe: np.ndarray, broken: np.ndarray, failed: np.ndarray) -> PerExample:
    return PerExample(
        tuple(range(len(data))),
        tuple(int(label) for label in data.labels),
        tuple(int(answer) for answer in predicted),
        tuple(float(radius) for radius in safe),
        tuple(float(radius) for radius in broken),
        tuple(bool(flag) for flag in failed),
    )
