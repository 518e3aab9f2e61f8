"""Adaptive clipping by Opacus' names for its settings."""

from typing import Any

import torch

from quintain.dp.opacus.optimizers.optimizer import DPOptimizer
from quintain.dp.opacus.refused import missing_name_getattr
from quintain.dp.step.adaptive import AdaptiveClipping

__all__ = ["AdaClipDPOptimizer"]
__getattr__ = missing_name_getattr(__name__)


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
