"""The optimizer of Opacus' ghost clipping, under its name."""

from quintain.dp.opacus.optimizers.optimizer import DPOptimizer
from quintain.dp.opacus.refused import missing_name_getattr

__all__ = ["DPOptimizerFastGradientClipping"]
__getattr__ = missing_name_getattr(__name__)


DPOptimizerFastGradientClipping = DPOptimizer
