"""The optimizer of clipping layer by layer, under Opacus' name."""

from quintain.dp.opacus.optimizers.optimizer import DPOptimizer
from quintain.dp.opacus.refused import refusing

__all__ = ["DPPerLayerOptimizer"]
__getattr__ = refusing(__name__)


DPPerLayerOptimizer = DPOptimizer
