"""The weights that a run keeps beside those that it trains: an average, the best, the last good ones."""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Protocol

from torch import Tensor, nn

from quintain.models.sealed_tensors import select_prefix
from quintain.training.ema import EMA

Weights = dict[str, Tensor]

BEST, AVERAGE = "best.", "average."
"""What names of tensors in a checkpoint begin with."""


@dataclass(frozen=True, slots=True)
class ValidationPoint:
    """What one look at a net in training found, on examples that it is not trained on.

    Args:
        step: Steps taken before.
        clean: Accuracy on the examples as they are, in [0, 1].
        robust: Accuracy under attack; None where none was run.
        certified: Accuracy that bounds prove; None where none were computed.
        alarm: Why the training must not go on, in words; empty where it may.
    """

    step: int
    clean: float
    robust: float | None = None
    certified: float | None = None
    alarm: str = ""

    @property
    def rank(self) -> tuple[float, float]:
        """What the best weights have the most of: robust or else certified accuracy, then clean accuracy."""
        return (self.certified if self.robust is None else self.robust) or 0.0, self.clean


class Validation(Protocol):
    """A measurement of the net in training; its ``repr`` names all that it depends on."""

    @property
    def looks(self) -> int:
        """How often an epoch, in equal distances."""

    @property
    def selects(self) -> bool:
        """Whether the run ends with the best weights that were seen, instead of the last."""

    def __call__(self, net: nn.Module, step: int, before: tuple[ValidationPoint, ...]) -> ValidationPoint:
        """Measure a net in evaluation mode, and compare it with what was found ``before``."""


class KeptWeights:
    """Weights beside those that are trained.

    Args:
        net: The net in training.
        ema_decay: Decay of the moving average; 0 for none.
        validation: What measures the net, if anything does.
    """

    def __init__(self, net: nn.Module, ema_decay: float, validation: Validation | None) -> None:
        self.net, self.validation = net, validation
        self.ema = EMA(net, ema_decay, buffers=True) if ema_decay else None
        self.points: tuple[ValidationPoint, ...] = ()
        self.stopped = ""
        self._best: Weights | None = None
        self._good: tuple[int, Weights] | None = None

    @property
    def best_point(self) -> ValidationPoint | None:
        """The first of the looks that found the most."""
        good = [point for point in self.points if not point.alarm]
        return max(good, key=lambda point: point.rank, default=None)

    def average(self) -> None:
        """Add the present weights to their average, if there is one; call it after each step."""
        if self.ema is not None:
            self.ema.update()

    def look(self, step: int, per_epoch: int) -> bool:
        """Look at the net, where it is time, after so many steps of the run.

        Returns:
            Whether training goes on; if not, ``stopped`` says why.
        """
        if self.validation is None or not is_look(step, per_epoch, self.validation.looks):
            return True
        self.net.eval()
        with nullcontext() if self.ema is None else self.ema.applied():
            point = self.validation(self.net, step, self.points)
            self.points = (*self.points, point)
            if self.best_point is point:
                self._best = copy_weights(self.net)
        if point.alarm:
            best = self.best_point
            kept = (
                "the last, since all looks found this" if best is None else f"those after step {best.step:,}"
            )
            self.stopped = f"training stopped after step {step:,}: {point.alarm}; the weights are {kept}"
        return not point.alarm

    def after_epoch(self, step: int) -> None:
        """Keep the weights after so many steps, if all are numbers."""
        if self.is_finite():
            self._good = (step, copy_weights(self.net))

    def is_finite(self) -> bool:
        """Return whether all weights and buffers are finite numbers."""
        values = self.net.state_dict().values()
        return all(bool(value.isfinite().all()) for value in values if value.is_floating_point())

    def restore_last_good(self) -> str:
        """Put the best or the last good weights into the net, and say which; empty if there are none."""
        best = self.best_point
        if best is not None and self._best is not None:
            self.net.load_state_dict(self._best)
            return f"the best ones, after step {best.step:,}"
        if self._good is None:
            return ""
        self.net.load_state_dict(self._good[1])
        return f"those after step {self._good[0]:,}"

    def finish(self) -> Weights | None:
        """Put the weights with which the run ends into the net; return the last ones, where it has others."""
        if self.ema is not None:
            self.ema.apply()
        selects = self.validation is not None and self.validation.selects
        best = self.best_point
        if self._best is None or not (selects or self.stopped) or (best and best is self.points[-1]):
            return None
        last = copy_weights(self.net)
        self.net.load_state_dict(self._best)
        return last

    def tensors(self) -> Weights:
        """Return what a checkpoint holds of them."""
        found = {f"{BEST}{name}": value for name, value in (self._best or {}).items()}
        if self.ema is not None:
            found |= {f"{AVERAGE}{name}": mean for name, mean in self.ema.state_dict()["means"].items()}
        return found

    def words(self) -> str:
        """Return the rest of what a checkpoint holds, as JSON."""
        return json.dumps(
            {
                "points": [asdict(point) for point in self.points],
                "stopped": self.stopped,
                "averaged": self.ema.steps if self.ema else 0,
            }
        )

    def load(self, words: str, tensors: Mapping[str, Tensor], step: int) -> None:
        """Go on from what a checkpoint holds; the net has its weights after so many steps already."""
        self.after_epoch(step)
        if not words:
            return
        found = json.loads(words)
        self.points = tuple(ValidationPoint(**point) for point in found["points"])
        self.stopped = found["stopped"]
        self._best = select_prefix(tensors, BEST) or None
        if self.ema is not None:
            self.ema.load_state_dict({"steps": found["averaged"], "means": select_prefix(tensors, AVERAGE)})


def is_look(step: int, per_epoch: int, looks: int) -> bool:
    """Return whether one of so many looks an epoch is due after a step, counted from 1."""
    in_epoch = (step - 1) % per_epoch + 1
    return in_epoch * looks // per_epoch > (in_epoch - 1) * looks // per_epoch


def copy_weights(net: nn.Module) -> Weights:
    """Copy all weights and buffers of a net to memory of their own on the CPU."""
    return {name: value.detach().to("cpu", copy=True) for name, value in net.state_dict().items()}
