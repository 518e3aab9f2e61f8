"""The optimizer of Opacus' ghost clipping, under its name."""

from quintain.dp.opacus.optimizers.optimizer import DPOptimizer
from quintain.dp.opacus.refused import refusing

__all__ = ["DPOptimizerFastGradientClipping"]
__getattr__ = refusing(__name__)


DPOptimizerFastGradientClipping = DPOptimizer
