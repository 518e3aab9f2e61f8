"""The optimizer of several processes."""

from typing import Any

import torch

from quintain.core.errors import PrivacyError
from quintain.dp.distributed import current_world
from quintain.dp.opacus.optimizers.optimizer import DPOptimizer
from quintain.dp.opacus.refused import missing_name_getattr
from quintain.dp.sampling.loader import SamplingLoader

__all__ = ["DistributedDPOptimizer"]
__getattr__ = missing_name_getattr(__name__)


class DistributedDPOptimizer(DPOptimizer):
    """A ``DPOptimizer`` for several processes: its loader tells how they share the work.

    Raises:
        PrivacyError: If there are several, and no loader.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, *, loader: SamplingLoader[Any] | None = None, **settings: Any
    ) -> None:
        if loader is None and (size := current_world().size) > 1:
            raise PrivacyError(
                f"got {size} processes and no private loader; expected make_private, or "
                "loader=DPDataLoader(..., distributed=True): each process by itself would add noise of its "
                "own and spend its own epsilon on the same records"
            )
        super().__init__(optimizer, loader=loader, **settings)
