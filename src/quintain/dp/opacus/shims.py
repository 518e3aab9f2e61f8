"""What scripts of Opacus call under names, or with arguments, that ``quintain.dp`` has no use for: each hands
over to the one way here.
"""

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.distributed import current_world
from quintain.dp.sampling.batch_source import with_batches
from quintain.dp.sampling.loader import SamplingLoader
from quintain.dp.step.adaptive import AdaptiveClipping
from quintain.dp.step.optimizer import DPOptimizer
from quintain.dp.wrapper import GradSampleModule

MODES = ("hooks", "functorch", "ew", "ghost")


class GradSampleModuleFastGradientClipping(GradSampleModule):
    """A ``GradSampleModule``; which form the norms are computed in is chosen layer by layer.

    Args:
        m: The module to wrap.
        max_grad_norm, use_ghost_clipping: Without effect: the optimizer holds the bound.
        settings: Of ``GradSampleModule``.
    """

    def __init__(
        self,
        m: nn.Module,
        *,
        max_grad_norm: float = 1.0,  # noqa: ARG002
        use_ghost_clipping: bool = True,  # noqa: ARG002
        **settings: Any,
    ) -> None:
        super().__init__(m, **settings)


class AdaClipDPOptimizer(DPOptimizer):
    """A ``DPOptimizer`` with ``AdaptiveClipping``, set by Opacus' names for its settings."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        max_grad_norm: float,
        target_unclipped_quantile: float,
        clipbound_learning_rate: float,
        max_clipbound: float,
        min_clipbound: float,
        unclipped_num_std: float,
        **settings: Any,
    ) -> None:
        clip = AdaptiveClipping(
            max_grad_norm,
            unclipped_count_std=unclipped_num_std,
            target_quantile=target_unclipped_quantile,
            learning_rate=clipbound_learning_rate,
            min_bound=min_clipbound,
            max_bound=max_clipbound,
        )
        super().__init__(optimizer, max_grad_norm=clip, **settings)


class DistributedDPOptimizer(DPOptimizer):
    """A ``DPOptimizer`` for several processes: its loader tells how they share the work.

    Raises:
        PrivacyError: If there are several, and no loader.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, *, loader: SamplingLoader | None = None, **settings: Any
    ) -> None:
        if loader is None and (size := current_world().size) > 1:
            raise PrivacyError(
                f"got {size} processes and no private loader; expected make_private, or "
                "loader=DPDataLoader(..., distributed=True): each process by itself would add noise of its "
                "own and spend its own epsilon on the same records"
            )
        super().__init__(optimizer, loader=loader, **settings)


GradSampleModuleExpandedWeights = GradSampleModule
DPOptimizerFastGradientClipping = DPPerLayerOptimizer = DPOptimizer
DistributedDPOptimizerFastGradientClipping = DistributedDPOptimizer
DistributedPerLayerOptimizer = SimpleDistributedPerLayerOptimizer = DistributedDPOptimizer


def get_gsm_class(grad_sample_mode: str) -> type[GradSampleModule]:
    """The class that a mode wraps modules in."""
    _check_mode(grad_sample_mode)
    return GradSampleModuleFastGradientClipping if grad_sample_mode == "ghost" else GradSampleModule


def wrap_model(model: nn.Module, grad_sample_mode: str, *args: Any, **settings: Any) -> GradSampleModule:
    """A module in the class of a mode."""
    return get_gsm_class(grad_sample_mode)(model, *args, **settings)


def get_optimizer_class(
    clipping: str, distributed: bool, grad_sample_mode: str | None = None
) -> type[DPOptimizer]:
    """The class of optimizers that clip in a way."""
    if grad_sample_mode is not None:
        _check_mode(grad_sample_mode)
    if clipping not in ("flat", "per_layer", "adaptive"):
        raise SettingError(f"got clipping = {clipping!r}; expected flat, per_layer or adaptive")
    if clipping == "adaptive":
        if distributed:
            raise SettingError(
                "got adaptive clipping for several processes by hand; expected "
                "make_private(clipping='adaptive')"
            )
        return AdaClipDPOptimizer
    return DistributedDPOptimizer if distributed else DPOptimizer


def switch_generator(*, data_loader: "DataLoader[Any]", generator: torch.Generator) -> "DataLoader[Any]":
    """An ordinary loader with another generator, to begin a script with.

    Raises:
        SettingError: If the loader is private already, or its sampler has no generator.
    """
    if not isinstance(data_loader, DataLoader):
        raise SettingError(
            f"got a {type(data_loader).__name__}, whose draws are keyed when it is made; expected an "
            "ordinary DataLoader, or DPDataLoader(..., generator=generator)"
        )
    batches: Any = data_loader.batch_sampler
    holder = batches.sampler if isinstance(batches, BatchSampler) else batches
    if not hasattr(holder, "generator"):
        raise SettingError(
            f"got a loader with a {type(holder).__name__}, which has no generator; expected shuffle=True"
        )
    holder.generator = generator
    return with_batches(data_loader, batches, generator)


def check_per_sample_gradients_are_correct(
    x: Tensor | Sequence[Tensor],
    module: nn.Module,
    batch_first: bool = True,
    atol: float = 1e-5,
    rtol: float = 1e-4,
    grad_sample_mode: str = "hooks",
) -> bool:
    """Whether ``grad_sample`` of a copy of the module equals the gradients of each example run by itself, for
    a mean and for a sum.

    Args:
        x: Inputs of a batch: one tensor, or all that the module takes.
        module: Trainable; it must not draw at random.
        batch_first: Whether the first dimension is that of the examples, or the second.
        atol, rtol: What may lie between the two.
        grad_sample_mode: Accepted; there is one way.
    """
    _check_mode(grad_sample_mode)
    inputs = (x,) if isinstance(x, Tensor) else tuple(x)
    dim = 0 if batch_first else 1
    examples = inputs[0].shape[dim]
    reductions: tuple[Literal["mean", "sum"], ...] = ("mean", "sum")
    for reduction in reductions:
        alone = copy.deepcopy(module)
        wrapped = GradSampleModule(copy.deepcopy(module), batch_first=batch_first, loss_reduction=reduction)
        loss = _squares(wrapped(*inputs))
        (loss / examples if reduction == "mean" else loss).backward()
        found: list[Tensor] = [
            vars(parameter)["grad_sample"] for parameter in wrapped.parameters() if parameter.requires_grad
        ]
        for i in range(examples):
            alone.zero_grad()
            _squares(alone(*(part.narrow(dim, i, 1) for part in inputs))).backward()
            expected = [parameter.grad for parameter in alone.parameters() if parameter.requires_grad]
            for ours, single in zip(found, expected, strict=True):
                row = torch.zeros_like(ours[i]) if single is None else single
                if not torch.allclose(ours[i], row, rtol=rtol, atol=atol):
                    return False
    return True


def _squares(output: Any) -> Tensor:
    """Of all numbers of an output, one term an example."""
    first: Tensor = output if isinstance(output, Tensor) else output[0]
    return first.square().sum()


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise SettingError(
            f"got grad_sample_mode = {mode!r}; expected {', '.join(MODES)}: parameters are not sharded"
        )
