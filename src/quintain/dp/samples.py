"""Per-example gradients left on the parameters as ``grad_sample``, for those who ask for them by name."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.capture import CAPTURES, Capture, Layer, Pass
from quintain.dp.forms import PerExample
from quintain.dp.rules import Rule

Shown = tuple[Pass | None, Tensor, int]
"""The pass, while it may get more gradients, what is shown of it, and the version of that."""


class Samples(Capture):
    """A capture that also sets ``parameter.grad_sample``: the gradients (B, *shape) of the examples, of the sum of their losses.

    After several passes it is a list, one tensor for each. What is clipped are the gradients as they were caught, so that a change of
    ``grad_sample`` is refused, not obeyed.

    Args:
        module: The module to train.
        mean: Whether losses are means over the batch of their pass.
        rules: Rules for more kinds of layer.
        batch_first: As for ``Capture``.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        mean: bool,
        rules: Mapping[type[nn.Module], Rule] | None = None,
        batch_first: bool = True,
    ) -> None:
        self._mean, self._asking = mean, False
        self._known: dict[nn.Parameter, list[Shown]] = {}
        super().__init__(module, rules=rules, batch_first=batch_first)

    @classmethod
    def over(cls, optimizer: torch.optim.Optimizer) -> "Samples":
        """The capture under which the parameters of an optimiser are."""
        held = {parameter for group in optimizer.param_groups for parameter in group["params"]}
        for capture in set(CAPTURES.values()):
            if isinstance(capture, cls) and held & set(capture.root.parameters()):
                return capture
        raise PrivacyError(
            "got an optimiser whose parameters are under no GradSampleModule; expected GradSampleModule(module) first, and an optimiser "
            "over its parameters, or PrivacyEngine().make_private(...)"
        )

    def note(self, layer: Layer, turn: Pass, batch: int, g: Tensor, found: Callable[[], Any]) -> None:
        super().note(layer, turn, batch, g, found)
        for parameter in () if self._asking else layer.parameters.values():
            self._show(parameter, turn)

    def trial(self, of: Tensor) -> Mapping[nn.Parameter, PerExample]:
        self._asking = True
        try:
            return super().trial(of)
        finally:
            self._asking = False

    def take(self) -> list[Pass]:
        """The passes, if what is shown of them was left alone.

        Raises:
            PrivacyError: If a ``grad_sample`` was changed.
        """
        for parameter, known in self._known.items():
            shown = getattr(parameter, "grad_sample", None)
            if shown is not None and not _same(shown if isinstance(shown, list) else [shown], known):
                raise PrivacyError(
                    f"grad_sample of a parameter of shape {tuple(parameter.shape)} was changed after backward(); expected it left "
                    "alone: what is clipped are the gradients as they were caught"
                )
            self._known[parameter] = [(None, rows, version) for _, rows, version in known]
        return super().take()

    def clear(self) -> None:
        """Take ``grad_sample`` off the parameters."""
        self._known.clear()
        for parameter in self.root.parameters():
            parameter.grad_sample = None  # type: ignore[attr-defined]

    def _show(self, parameter: nn.Parameter, turn: Pass) -> None:
        scale = float(turn.batch or 0) if self._mean else 1.0
        rows = turn.gradients[parameter].dense() * scale
        known = [entry for entry in self._known.get(parameter, []) if entry[0] is not turn]
        self._known[parameter] = [*known, (turn, rows, rows._version)]
        shown = [entry[1] for entry in self._known[parameter]]
        parameter.grad_sample = shown if known else rows  # type: ignore[attr-defined]


def _same(parts: list[Any], known: list[Shown]) -> bool:
    return len(parts) == len(known) and all(
        part is rows and part._version == version for part, (_, rows, version) in zip(parts, known, strict=True)
    )
