"""Per-example gradients left on the parameters as ``grad_sample``, for those who ask for them by name."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.gradients.capture import CAPTURES, Capture
from quintain.dp.gradients.forms import PerExample
from quintain.dp.gradients.layers import Layer
from quintain.dp.gradients.passes import Pass
from quintain.dp.rules import Rule

Mode = Literal["auto", "hooks", "functorch", "ew", "ghost"]
SHOWN = ("hooks", "functorch", "ew")
"""Modes that leave ``grad_sample`` on the parameters."""

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
            # an owner of other layers brings what they do not; they bring theirs in their own turn
            if parameter in turn.gradients:
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


def capturing(module: nn.Module, mode: Mode, *, mean: bool, rules: Mapping[type[nn.Module], Rule] | None, batch_first: bool) -> Capture:
    """What catches the gradients of a module, and shows them if the mode is one that does."""
    if mode not in (*SHOWN, "auto", "ghost"):
        raise SettingError(
            f"got grad_sample_mode = {mode!r}; expected auto, hooks, functorch, ew or ghost: models that are sharded over machines are not "
            "trained here, and a mode without clipping is never private"
        )
    if mode in SHOWN:
        return Samples(module, mean=mean, rules=rules, batch_first=batch_first)
    return Capture(module, rules=rules, batch_first=batch_first)


def pending_samples(turns: Sequence[Pass], parameters: Sequence[nn.Parameter], *, mean: bool) -> list[Tensor]:
    """Of each parameter, the gradients (B, *shape) of the examples of some passes, of the sum of their losses."""
    scales = [float(turn.batch or 0) if mean else 1.0 for turn in turns]
    return [
        torch.cat([scale * turn.gradients[p].dense() for scale, turn in zip(scales, turns, strict=True) if p in turn.gradients])
        if any(p in turn.gradients for turn in turns)
        else p.new_zeros(0, *p.shape)
        for p in parameters
    ]


def _same(parts: list[Any], known: list[Shown]) -> bool:
    return len(parts) == len(known) and all(
        part is rows and part._version == version for part, (_, rows, version) in zip(parts, known, strict=True)
    )
