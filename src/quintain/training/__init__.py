"""The one training loop, which can be resumed; recipes and losses."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports
from quintain.training._index import EXPORTS

if TYPE_CHECKING:
    from quintain.training.bfloat16 import Bfloat16Loss as Bfloat16Loss
    from quintain.training.ema import EMA as EMA
    from quintain.training.kept_weights import Validation as Validation
    from quintain.training.kept_weights import ValidationPoint as ValidationPoint
    from quintain.training.loop import FitResult as FitResult
    from quintain.training.loop import fit as fit
    from quintain.training.objective import CleanCrossEntropy as CleanCrossEntropy
    from quintain.training.objective import Objective as Objective
    from quintain.training.objective import StepContext as StepContext
    from quintain.training.recipe import Recipe as Recipe

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
