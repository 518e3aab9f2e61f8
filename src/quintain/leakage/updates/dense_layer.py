"""Dense layer: where a net begins with a Linear layer, one update gives its input away in closed form."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from quintain.core.errors import ModelError, SettingError
from quintain.core.progress import Progress, no_progress
from quintain.leakage.attack import Candidates, Goal, Guess
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.update_view import require_updates
from quintain.leakage.updates.gradient_parts import as_gradient_list, layer_gradient, linear_layers
from quintain.leakage.view import AttackerView
from quintain.models.adapters import forward_logits


def recover_linear_input(net: nn.Module, gradient: Sequence[Tensor]) -> tuple[nn.Linear, Tensor] | None:
    r"""Compute the input (F,) of the first Linear layer with a bias from its gradient.

    The result is None without such a layer.

    For one example :math:`\partial \ell / \partial W = b' f^T` with :math:`b' = \partial \ell / \partial b`,
    so that
    :math:`f = W'^T b' / \|b'\|^2` exactly; for several it is a weighted mean of theirs.
    """
    for layer in linear_layers(net):
        weight, bias = layer_gradient(net, gradient, layer)
        if bias is not None:
            return (layer, weight.T @ bias / (bias @ bias)) if bias.any() else None
    return None


def unit_inputs(weight: Tensor, bias: Tensor, *, tolerance: float = 1e-9) -> Tensor:
    """Return the ratio (u, F) of the gradients of weight (U, F) and bias (U,) for each unit that has one.

    It is the input of a unit that only one example reached, as behind a ReLU, and a weighted mean otherwise.

    Args:
        weight, bias: Gradients of the layer.
        tolerance: Gradients of biases below it, relative to the largest, are none.
    """
    reached = bias.abs() > tolerance * bias.abs().max().clamp(min=torch.finfo(bias.dtype).tiny)
    return weight[reached] / bias[reached, None]


def as_pixels(net: nn.Module, layer: nn.Linear, inputs: Tensor, shape: Sequence[int]) -> Tensor:
    r"""Return the examples (n, *shape) in [0, 1] that reach a layer as its ``inputs`` (n, F).

    What is before the layer may scale and shift each number and arrange them in another shape, as a
    normalization does: :math:`h = s \odot x + m`, which two probes tell and a third confirms.

    Raises:
        ModelError: If something else is before the layer.
    """
    caught: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, given: caught.append(given[0].detach().flatten(1)))
    ramp = torch.linspace(0, 1, torch.Size(shape).numel(), dtype=inputs.dtype).view(1, *shape).to(inputs)
    with torch.no_grad():
        for probe in (torch.zeros_like(ramp), torch.ones_like(ramp), ramp):
            forward_logits(net, probe)
    hook.remove()
    low, high, middle = caught if len(caught) == 3 else (inputs[:0],) * 3
    fits = low.shape == (1, ramp.numel()) and bool((low != high).all())
    if not fits or not torch.allclose(middle, low + (high - low) * ramp.flatten(1), atol=1e-4):
        raise ModelError(
            f"the first Linear layer of {type(net).__name__} does not read pixels; expected one that does, "
            "for the closed form: take gradient inversion for convolutions"
        )
    return ((inputs - low) / (high - low)).clamp(0, 1).reshape(-1, *shape)


@dataclass(frozen=True, slots=True)
class DenseLayer:
    r"""The input of a net that begins with a Linear layer, read from its gradient.

    .. math:: x = \frac{W'^T b'}{\|b'\|^2} \quad \text{of one example, and} \quad \frac{W'_i}{b'_i}

    of each unit i where there are several: that is an example where no other one reached the unit.

    Guarantee: exact for one example and one step; a witness otherwise.

    Source: Phong, Aono, Hayashi, Wang and Moriai, 2018, IEEE TIFS 13(5).
    """

    kind: ClassVar[str] = "leak"
    name: ClassVar[str] = "dense-layer"
    summary: ClassVar[str] = (
        "pictures behind an update of a net that begins with a linear layer, in closed form"
    )
    guarantee: ClassVar[str] = "exact for one example and one step; else a witness of what it finds"
    goal: ClassVar[Goal] = "pictures"
    access: ClassVar[str] = "update"
    needs: ClassVar[tuple[str, ...]] = ()
    default_rank: ClassVar[int] = 2
    is_iterative: ClassVar[bool] = False

    def guess(
        self,
        view: AttackerView,
        knowledge: Knowledge,  # noqa: ARG002
        candidates: Candidates,
        *,
        budget: int,
        seed: int,  # noqa: ARG002
        progress: Progress = no_progress,  # noqa: ARG002
    ) -> Guess:
        """Return the pictures; see ``LeakageAttack``.

        Raises:
            ModelError: If no Linear layer with a bias reads the pixels.
        """
        if budget < 1:
            raise SettingError(f"budget = {budget} rounds; expected at least 1")
        seen = require_updates(view, attack=self.name)
        net, update = seen.net, seen.update()
        nothing = torch.zeros(0, *candidates.shape)
        layer = next((one for one in linear_layers(net) if one.bias is not None), None)
        if layer is None:
            raise ModelError(
                f"{type(net).__name__} has no Linear layer with a bias; expected one at its start"
            )
        if update is None or not update.any():
            return Guess(images=nothing, queries=seen.queries)
        parts = as_gradient_list(net.double(), update.double())
        weight, bias = layer_gradient(net, parts, layer)
        assert bias is not None
        if len(candidates) == 1 and bias.any():
            inputs = (weight.T @ bias / (bias @ bias))[None]
        else:
            inputs = unit_inputs(weight, bias)
        images = as_pixels(net, layer, inputs, candidates.shape)
        return Guess(images=images.float().cpu(), queries=seen.queries)
