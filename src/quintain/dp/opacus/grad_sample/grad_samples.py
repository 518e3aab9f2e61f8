"""Per-example gradients exposed as ``parameter.grad_sample``, as Opacus does in its modes of that name."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.capture.captured_pass import CapturedPass
from quintain.dp.capture.hooks import _CAPTURE_OF_LAYER, Capture
from quintain.dp.capture.trainable_layers import TrainableLayer

GradSampleMode = Literal["auto", "hooks", "functorch", "ew", "ghost"]
MODES_WITH_GRAD_SAMPLE = ("hooks", "functorch", "ew")
"""Modes that set ``grad_sample`` on the parameters."""

ExposedGrad = tuple[CapturedPass | None, Tensor, int]
"""The pass (while it may get more gradients), the tensor exposed for it, and the version of that tensor."""


class GradSamples:
    """Sets ``parameter.grad_sample``, (B, *shape), from what a capture catches, for the sum of the losses.

    After several passes it is a list, one tensor for each. Clipping uses the gradients as they were captured,
    so a change of ``grad_sample`` is refused.

    Args:
        capture: Whose gradients are exposed from now on.
        mean: Whether losses are means over the batch of their pass.
    """

    def __init__(self, capture: Capture, *, mean: bool) -> None:
        self._root, self._mean = capture.root, mean
        self._exposed: dict[nn.Parameter, list[ExposedGrad]] = {}
        capture.observer = self

    def on_grads(self, layer: TrainableLayer, captured: CapturedPass) -> None:
        """Expose the gradients of a layer."""
        for parameter in layer.parameters.values():
            # a layer that covers submodules gives only what these do not give themselves
            if parameter in captured.gradients:
                self._expose(parameter, captured)

    def before_handover(self) -> None:
        """Check that ``grad_sample`` was left alone.

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

    def on_discard(self) -> None:
        """Set ``grad_sample`` of all parameters to None."""
        self._exposed.clear()
        for parameter in self._root.parameters():
            parameter.grad_sample = None  # type: ignore[attr-defined]

    def _expose(self, parameter: nn.Parameter, captured: CapturedPass) -> None:
        # gradients of the sum of losses: a mean is undone
        scale = float(captured.batch_size or 0) if self._mean else 1.0
        rows = captured.gradients[parameter].to_dense() * scale
        exposed = [entry for entry in self._exposed.get(parameter, []) if entry[0] is not captured]
        self._exposed[parameter] = [*exposed, (captured, rows, rows._version)]
        current = [entry[1] for entry in self._exposed[parameter]]
        parameter.grad_sample = current if exposed else rows  # type: ignore[attr-defined]


def capture_of_optimizer(optimizer: torch.optim.Optimizer) -> Capture:
    """The capture with exposed gradients that an optimizer's parameters are under.

    Raises:
        PrivacyError: If there is none.
    """
    optimizer_params = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    for capture in set(_CAPTURE_OF_LAYER.values()):
        if isinstance(capture.observer, GradSamples) and optimizer_params & set(capture.root.parameters()):
            return capture
    raise PrivacyError(
        "got an optimizer whose parameters are under no GradSampleModule; expected "
        "GradSampleModule(module) first, and an optimizer over its parameters, or "
        "PrivacyEngine().make_private(...)"
    )


def check_grad_sample_mode(mode: str) -> None:
    """Raise unless a mode is one of ``GradSampleMode``."""
    if mode not in (*MODES_WITH_GRAD_SAMPLE, "auto", "ghost"):
        raise SettingError(
            f"got grad_sample_mode = {mode!r}; expected auto, hooks, functorch, ew or ghost: models that are "
            "sharded over machines are not trained here, and a mode without clipping is never private"
        )


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
