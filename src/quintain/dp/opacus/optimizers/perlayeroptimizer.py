"""The optimizer of clipping layer by layer, under Opacus' name."""

from quintain.dp.opacus.optimizers.optimizer import DPOptimizer
from quintain.dp.opacus.refused import missing_name_getattr

__all__ = ["DPPerLayerOptimizer"]
__getattr__ = missing_name_getattr(__name__)


DPPerLayerOptimizer = DPOptimizer
