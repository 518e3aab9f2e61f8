"""Private optimizers under Opacus' names."""

from quintain.core.errors import SettingError
from quintain.dp.opacus.grad_sample.utils import check_mode
from quintain.dp.opacus.optimizers.adaclipoptimizer import AdaClipDPOptimizer
from quintain.dp.opacus.optimizers.ddp_perlayeroptimizer import SimpleDistributedPerLayerOptimizer
from quintain.dp.opacus.optimizers.ddpoptimizer import DistributedDPOptimizer
from quintain.dp.opacus.optimizers.ddpoptimizer_fast_gradient_clipping import (
    DistributedDPOptimizerFastGradientClipping,
)
from quintain.dp.opacus.optimizers.optimizer import DPOptimizer
from quintain.dp.opacus.optimizers.optimizer_fast_gradient_clipping import DPOptimizerFastGradientClipping
from quintain.dp.opacus.optimizers.perlayeroptimizer import DPPerLayerOptimizer
from quintain.dp.opacus.refused import missing_name_getattr

__all__ = [
    "AdaClipDPOptimizer",
    "DPOptimizer",
    "DPOptimizerFastGradientClipping",
    "DPPerLayerOptimizer",
    "DistributedDPOptimizer",
    "DistributedDPOptimizerFastGradientClipping",
    "SimpleDistributedPerLayerOptimizer",
    "get_optimizer_class",
]
__getattr__ = missing_name_getattr(__name__)


def get_optimizer_class(
    clipping: str, distributed: bool, grad_sample_mode: str | None = None
) -> type[DPOptimizer]:
    """Return the optimizer class for a kind of clipping, as Opacus' function of this name does.

    Args:
        clipping: ``flat``, ``per_layer`` or ``adaptive``.
        distributed: Whether several processes train.
        grad_sample_mode: One of Opacus' modes, which is checked and changes nothing.

    Raises:
        SettingError: For another clipping or mode, or adaptive clipping in several processes.
    """
    if grad_sample_mode is not None:
        check_mode(grad_sample_mode)
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
