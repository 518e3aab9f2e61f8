"""The wrapper of Opacus' ghost clipping, under its name."""

from typing import Any

from torch import nn

from quintain.dp.opacus.grad_sample.grad_sample_module import GradSampleModule
from quintain.dp.opacus.refused import refusing

__all__ = ["GradSampleModuleFastGradientClipping"]
__getattr__ = refusing(__name__)


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
