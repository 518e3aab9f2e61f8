"""The wrapper of Opacus' ghost clipping, under its name."""

from typing import Literal

from torch import nn

from quintain.dp.capture.hooks import Capture
from quintain.dp.opacus.grad_sample.grad_sample_module import GradSampleModule
from quintain.dp.opacus.refused import missing_name_getattr

__all__ = ["GradSampleModuleFastGradientClipping"]
__getattr__ = missing_name_getattr(__name__)


class GradSampleModuleFastGradientClipping(GradSampleModule):
    """A ``GradSampleModule``; which form the norms are computed in is chosen layer by layer.

    Args:
        m: The module to wrap.
        batch_first, loss_reduction, strict, force_functorch, capture: As for ``GradSampleModule``.
        max_grad_norm, use_ghost_clipping: Ignored: the optimizer holds the bound.

    Raises:
        PrivacyError: If a layer cannot be private.
        SettingError: If ``strict`` is False.
    """

    def __init__(
        self,
        m: nn.Module,
        *,
        batch_first: bool = True,
        loss_reduction: Literal["mean", "sum"] = "mean",
        strict: bool = True,
        force_functorch: bool = False,
        capture: Capture | None = None,
        max_grad_norm: float = 1.0,  # noqa: ARG002
        use_ghost_clipping: bool = True,  # noqa: ARG002
    ) -> None:
        super().__init__(
            m,
            batch_first=batch_first,
            loss_reduction=loss_reduction,
            strict=strict,
            force_functorch=force_functorch,
            capture=capture,
        )
