"""Low-rank adaptation (LoRA) of frozen layers: few trainable weights, which need little noise."""

from collections.abc import Collection
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from quintain.core.errors import SettingError
from quintain.core.seeds import derive_seed
from quintain.models.nets import initialize

# The source of methods is part of a model's hash: a changed name in LoRALayer changes the hash.

M = TypeVar("M", bound=nn.Module)
Pair = tuple[int, int]


class LoRALayer(nn.Module):
    r"""A frozen layer with a trainable low-rank update, the product of two small layers.

    .. math:: y = W x + \tfrac{\alpha}{r}\, B A x,
        \qquad A \in R^{r \times in},\; B \in R^{out \times r},\; B = 0 \text{ at first}

    A and B are ordinary layers, ``down`` and ``up``, so that their per-example gradients are known.

    Args:
        base: ``nn.Linear``, or ``nn.Conv2d`` without groups (A then has its kernel and stride, and B is 1x1).
        rank: Rank r of the update.
        alpha: Scale of the update, which is multiplied by ``alpha / rank``.
        seed: Seed of the initial weights of A.

    Source: Hu et al., 2021, arXiv:2106.09685; trained privately: Yu et al., 2021, arXiv:2110.06500.
    """

    def __init__(self, base: nn.Linear | nn.Conv2d, *, rank: int, alpha: float, seed: int = 0) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scale = alpha / rank
        if isinstance(base, nn.Conv2d):
            self.down: nn.Module = nn.Conv2d(
                base.in_channels,
                rank,
                cast(Pair, base.kernel_size),
                cast(Pair, base.stride),
                cast(str | Pair, base.padding),
                cast(Pair, base.dilation),
                bias=False,
                padding_mode=base.padding_mode,
            )
            self.up: nn.Module = nn.Conv2d(rank, base.out_channels, 1, bias=False)
        else:
            self.down, self.up = (
                nn.Linear(base.in_features, rank, bias=False),
                nn.Linear(rank, base.out_features, bias=False),
            )
        initialize(nn.Sequential(self.down), seed)
        nn.init.zeros_(self.up.get_parameter("weight"))
        self.to(base.weight.device, base.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the frozen layer plus that of the update, (B, ...)."""
        y: Tensor = self.base(x)
        return y + self.scale * self.up(self.down(x))

    @property
    def weight(self) -> Tensor:
        """The weight of a plain layer that computes the same function."""
        up, down = self.up.get_parameter("weight"), self.down.get_parameter("weight")
        return self.base.weight + self.scale * (up.flatten(1) @ down.flatten(1)).view_as(self.base.weight)

    @property
    def bias(self) -> Tensor | None:
        """The bias of the frozen layer."""
        return self.base.bias


def add_lora(
    module: nn.Module,
    *,
    rank: int = 8,
    alpha: float | None = None,
    targets: Collection[str] | None = None,
    seed: int = 0,
) -> list[str]:
    """Freeze ``module`` and add a trainable low-rank update to some of its layers, in place.

    Unfreeze afterwards what else is to be trained, such as a new last layer (``requires_grad_(True)``); then
    call ``make_private``. The modules of the ``peft`` package can be trained in the same way, since their
    updates are ordinary layers too.

    Args:
        module: Contains ``nn.Linear`` or ``nn.Conv2d`` (without groups) layers; its outputs do not change.
        rank: Rank r of the updates.
        alpha: Scale of the updates, which are multiplied by ``alpha / rank``; by default ``rank``.
        targets: Layers by their full name or its last part, such as ``"query"``; by default all.
        seed: Seed of the initial weights of the updates.

    Returns:
        The names of the layers that now have an update.

    Raises:
        SettingError: If a number is out of range, no layer is selected, or a target names no such layer.
    """
    alpha = float(rank) if alpha is None else alpha
    if rank < 1 or alpha <= 0:
        raise SettingError(f"got rank = {rank}, alpha = {alpha}; expected at least 1, and a positive number")
    candidates = {name: layer for name, layer in module.named_modules() if name and _supports_lora(layer)}
    selected = [
        name
        for name in candidates
        if targets is None or name in targets or name.rpartition(".")[2] in targets
    ]
    unmatched = [
        target
        for target in targets or ()
        if not any(target in (name, name.rpartition(".")[2]) for name in selected)
    ]
    if unmatched or not selected:
        raise SettingError(
            f"got targets {sorted(targets or ())}, of which {unmatched or 'none'} is no Linear or Conv2d "
            f"layer inside {type(module).__name__}; expected some of "
            f"{', '.join(candidates) or 'a module with such layers'}"
        )
    module.requires_grad_(False)
    for name in selected:
        module.set_submodule(
            name, LoRALayer(candidates[name], rank=rank, alpha=alpha, seed=derive_seed(seed, "lora", name))
        )
    return selected


def merge_lora(module: M) -> M:
    """Merge each low-rank update into its layer's weights, in place.

    The module computes the same as before.
    """
    for name, child in list(module.named_modules()):
        if isinstance(child, LoRALayer):
            with torch.no_grad():
                child.base.weight.copy_(child.weight)
            module.set_submodule(name, child.base)
    return module


def _supports_lora(layer: nn.Module) -> bool:
    return type(layer) is nn.Linear or (type(layer) is nn.Conv2d and layer.groups == 1)
