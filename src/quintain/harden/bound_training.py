"""What defenses that train bounds have in common: checks of their settings, the ramp, and the traced net."""

import math
from dataclasses import dataclass

from torch import nn

from quintain.certify.interval.graph import TracedNetwork
from quintain.core.errors import SettingError
from quintain.threats.arguments import to_threat
from quintain.threats.l2 import L2
from quintain.threats.linf import Linf
from quintain.threats.threat import Threat


def to_bounded_ball(threat: Threat | str) -> Linf | L2:
    """Return a ball that interval bounds know, which was given as one, or as its text.

    Raises:
        SettingError: If it is another threat.
    """
    ball: object = to_threat(threat)
    if not isinstance(ball, Linf | L2):
        raise SettingError(f"interval bounds know Linf and L2; got {ball!r}")
    return ball


def check_bound_weights(robust_weight: float, train_eps_ratio: float) -> None:
    """Raise if the weight of the bounds, or the ratio of the training eps to the threat's, is out of range.

    Raises:
        SettingError: If the weight is not in (0, 1], or the ratio below 1 or not finite.
    """
    if not (0 < robust_weight <= 1 <= train_eps_ratio < math.inf):
        raise SettingError(
            f"robust_weight = {robust_weight}, train_eps_ratio = {train_eps_ratio}; expected a weight in "
            "(0, 1] and a finite ratio of at least 1"
        )


def check_ramp(warmup: float, ramp: float) -> None:
    """Raise if a run has no room for a warm-up and a ramp.

    Raises:
        SettingError: If they are not fractions of the run that add up to at most 1.
    """
    if not (warmup >= 0 and ramp >= 0 and warmup + ramp <= 1):
        raise SettingError(
            f"warmup = {warmup}, ramp = {ramp}; expected fractions of the run that add up to at most 1"
        )


def ramp_fraction(fraction_done: float, warmup: float, ramp: float) -> float:
    """Return how much of the ramp is done, in [0, 1]: 0 in the warm-up, then linear, then 1.

    Args:
        fraction_done: How much of the run is done.
        warmup, ramp: Fractions of the run.
    """
    if fraction_done >= warmup + ramp:
        return 1.0
    return (fraction_done - warmup) / ramp if fraction_done > warmup else 0.0


@dataclass(slots=True, eq=False, repr=False)
class TraceOfNet:
    """The traced operations of the net in training, which do not change while its weights do."""

    _net: nn.Module | None = None
    _traced: TracedNetwork | None = None

    def __call__(self, net: nn.Module) -> TracedNetwork:
        """Return the operations of a net, traced once.

        Raises:
            ModelError: For a layer without a bound rule.
        """
        if self._traced is None or self._net is not net:
            self._net, self._traced = net, TracedNetwork.trace(net)
        return self._traced
