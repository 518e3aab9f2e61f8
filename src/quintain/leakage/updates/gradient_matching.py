"""Images whose gradient, or whose features, are the given ones: the losses, and how they are minimized."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from quintain.core.errors import ModelError
from quintain.models.adapters import forward_logits
from quintain.models.loop_checkpoints import LoopCheckpoint

SOLVED_LOSS = 1e-4
"""A start that ends below this loss is returned, and no other is tried."""

_LEARNING_RATE = 0.1
_LR_MILESTONES = (3 / 8, 5 / 8, 7 / 8)


class GradientMatchingLoss:
    """One minus the cosine between the mean gradient at images (B, *S) of labels (B,) and the given one."""

    def __init__(self, net: nn.Module, target_gradient: Sequence[Tensor], labels: Tensor) -> None:
        self._net, self._target = net, torch.cat([part.flatten() for part in target_gradient])
        self._labels = labels.to(self._target.device)

    def __call__(self, x: Tensor) -> Tensor:
        loss = nn.functional.cross_entropy(forward_logits(self._net, x), self._labels)
        parts = torch.autograd.grad(
            loss, list(self._net.parameters()), create_graph=x.requires_grad, materialize_grads=True
        )
        return 1 - torch.cosine_similarity(torch.cat([part.flatten() for part in parts]), self._target, dim=0)


class FeatureMatchingLoss:
    """The relative squared distance between the input of a layer and the recovered one."""

    def __init__(self, net: nn.Module, layer: nn.Linear, features: Tensor) -> None:
        self._net, self._features, self._captured = net, features, features
        layer.register_forward_pre_hook(self._capture)

    def _capture(self, _layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._captured = inputs[0].flatten()

    def __call__(self, x: Tensor) -> Tensor:
        forward_logits(self._net, x)
        return (self._captured - self._features).square().sum() / self._features.square().sum()


def signed_adam(
    objective: Callable[[Tensor], Tensor],
    start: Tensor,
    steps: int,
    tv_weight: float,
    advance: Callable[[int], None],
    kept: LoopCheckpoint,
) -> Tensor:
    """Minimize by Adam on the sign of the gradient, inside [0, 1]; return the best iterate.

    The learning rate is cut three times (Geiping et al., 2020); the best iterate, since signs make it
    oscillate.
    """
    z = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=_LEARNING_RATE)
    best, lowest = start.clone(), torch.inf
    if kept.step:
        z.data, best = kept.state["z"].to(z), kept.state["best"].to(z)
        lowest = kept.state["lowest"].item()
        optimizer.state[z] = {key: kept.state[key].to(z) for key in ("exp_avg", "exp_avg_sq")}
        optimizer.state[z]["step"] = kept.state["step"]

    def state() -> dict[str, Tensor]:
        loss = torch.tensor(lowest, dtype=torch.float64)
        return {"z": z, "best": best, "lowest": loss, **optimizer.state[z]}

    advance(kept.step)
    for step in range(kept.step, steps):
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * 0.1 ** sum(
                step >= milestone * steps for milestone in _LR_MILESTONES
            )
        value = objective(z) + tv_weight * total_variation(z)
        if (loss_value := value.item()) < lowest:
            best, lowest = z.detach().clone(), loss_value
        z.grad = _gradient(value, z).sign()
        optimizer.step()
        with torch.no_grad():
            z.clamp_(0, 1)
        advance(1)
        kept.offer(step + 1, steps, state)
    return best


def _gradient(value: Tensor, z: Tensor) -> Tensor:
    """Return the gradient at an image.

    Raises:
        ModelError: If a layer of the net has no second derivative in PyTorch.
    """
    try:
        return torch.autograd.grad(value, z)[0]
    except RuntimeError as error:
        if "is not implemented" not in str(error):
            raise
        raise ModelError(
            f"gradients of gradients are needed to rebuild an input, and PyTorch says: {error}; take a layer "
            "with a second derivative instead, such as ReLU or SiLU"
        ) from error


def total_variation(x: Tensor) -> Tensor:
    """Compute the mean absolute difference of neighboring pixels, down and across; 0 for vectors."""
    if x.ndim < 4:
        return x.new_zeros(())
    return (x[..., 1:] - x[..., :-1]).abs().mean() + (x[..., 1:, :] - x[..., :-1, :]).abs().mean()
