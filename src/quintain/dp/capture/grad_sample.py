"""Per-example gradients exposed as ``parameter.grad_sample``, as Opacus does in its modes of that name."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.capture.captured_pass import CapturedPass
from quintain.dp.capture.hooks import _CAPTURE_OF_LAYER, Capture
from quintain.dp.capture.trainable_layers import TrainableLayer
from quintain.dp.per_example.grads import PerExampleGrads
from quintain.dp.rules import Rule

GradSampleMode = Literal["auto", "hooks", "functorch", "ew", "ghost"]
MODES_WITH_GRAD_SAMPLE = ("hooks", "functorch", "ew")
"""Modes that set ``grad_sample`` on the parameters."""

ExposedGrad = tuple[CapturedPass | None, Tensor, int]
"""The pass (while it may get more gradients), the tensor exposed for it, and the version of that tensor."""


class GradSampleCapture(Capture):
    """A capture that also sets ``parameter.grad_sample``, (B, *shape), for the sum of the examples' losses.

    After several passes it is a list, one tensor for each. Clipping uses the gradients as they were captured,
    so a change of ``grad_sample`` is refused.

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
        self._mean, self._in_dry_run = mean, False
        self._exposed: dict[nn.Parameter, list[ExposedGrad]] = {}
        super().__init__(module, rules=rules, batch_first=batch_first)

    @classmethod
    def of_optimizer(cls, optimizer: torch.optim.Optimizer) -> "GradSampleCapture":
        """The capture that an optimizer's parameters are under."""
        optimizer_params = {parameter for group in optimizer.param_groups for parameter in group["params"]}
        for capture in set(_CAPTURE_OF_LAYER.values()):
            if isinstance(capture, cls) and optimizer_params & set(capture.root.parameters()):
                return capture
        raise PrivacyError(
            "got an optimizer whose parameters are under no GradSampleModule; expected "
            "GradSampleModule(module) first, and an optimizer over its parameters, or "
            "PrivacyEngine().make_private(...)"
        )

    def record_use(
        self,
        layer: TrainableLayer,
        captured: CapturedPass,
        batch_size: int,
        g: Tensor,
        compute_grads: Callable[[], Any],
    ) -> None:
        super().record_use(layer, captured, batch_size, g, compute_grads)
        for parameter in () if self._in_dry_run else layer.parameters.values():
            # a layer that covers submodules gives only what these do not give themselves
            if parameter in captured.gradients:
                self._expose(parameter, captured)

    def dry_run(self, scalar: Tensor) -> Mapping[nn.Parameter, PerExampleGrads]:
        self._in_dry_run = True
        try:
            return super().dry_run(scalar)
        finally:
            self._in_dry_run = False

    def pop_passes(self) -> list[CapturedPass]:
        """The passes, if their ``grad_sample`` was left alone.

        Raises:
            PrivacyError: If a ``grad_sample`` was changed.
        """
        for parameter, exposed in self._exposed.items():
            current = getattr(parameter, "grad_sample", None)
            if current is not None and not _is_unchanged(
                current if isinstance(current, list) else [current], exposed
            ):
                raise PrivacyError(
                    f"grad_sample of a parameter of shape {tuple(parameter.shape)} was changed after "
                    "backward(); expected it left alone: what is clipped are the gradients as they were "
                    "captured"
                )
            self._exposed[parameter] = [(None, rows, version) for _, rows, version in exposed]
        return super().pop_passes()

    def discard_passes(self) -> None:
        """Drop the gradients of all passes, and set ``grad_sample`` of all parameters to None."""
        self.clear_grad_sample()
        super().discard_passes()

    def clear_grad_sample(self) -> None:
        """Set ``grad_sample`` of all parameters to None."""
        self._exposed.clear()
        for parameter in self.root.parameters():
            parameter.grad_sample = None  # type: ignore[attr-defined]

    def _expose(self, parameter: nn.Parameter, captured: CapturedPass) -> None:
        # gradients of the sum of losses: a mean is undone
        scale = float(captured.batch_size or 0) if self._mean else 1.0
        rows = captured.gradients[parameter].to_dense() * scale
        exposed = [entry for entry in self._exposed.get(parameter, []) if entry[0] is not captured]
        self._exposed[parameter] = [*exposed, (captured, rows, rows._version)]
        current = [entry[1] for entry in self._exposed[parameter]]
        parameter.grad_sample = current if exposed else rows  # type: ignore[attr-defined]


def make_capture(
    module: nn.Module,
    mode: GradSampleMode,
    *,
    mean: bool,
    rules: Mapping[type[nn.Module], Rule] | None,
    batch_first: bool,
) -> Capture:
    """The capture of a module; it exposes ``grad_sample`` if the mode is one that does."""
    if mode not in (*MODES_WITH_GRAD_SAMPLE, "auto", "ghost"):
        raise SettingError(
            f"got grad_sample_mode = {mode!r}; expected auto, hooks, functorch, ew or ghost: models that are "
            "sharded over machines are not trained here, and a mode without clipping is never private"
        )
    if mode in MODES_WITH_GRAD_SAMPLE:
        return GradSampleCapture(module, mean=mean, rules=rules, batch_first=batch_first)
    return Capture(module, rules=rules, batch_first=batch_first)


def pending_grad_samples(
    passes: Sequence[CapturedPass], parameters: Sequence[nn.Parameter], *, mean: bool
) -> list[Tensor]:
    """For each parameter the per-example gradients (B, *shape) of some passes, for the sum of losses."""
    scales = [float(captured.batch_size or 0) if mean else 1.0 for captured in passes]
    return [
        torch.cat(
            [
                scale * captured.gradients[p].to_dense()
                for scale, captured in zip(scales, passes, strict=True)
                if p in captured.gradients
            ]
        )
        if any(p in captured.gradients for captured in passes)
        else p.new_zeros(0, *p.shape)
        for p in parameters
    ]


def _is_unchanged(parts: list[Any], exposed: list[ExposedGrad]) -> bool:
    return len(parts) == len(exposed) and all(
        part is rows and part._version == version
        for part, (_, rows, version) in zip(parts, exposed, strict=True)
    )
