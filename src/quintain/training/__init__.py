"""The one training loop, which can be resumed; recipes and losses."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.training.loop import FitResult as FitResult
    from quintain.training.loop import fit as fit
    from quintain.training.objective import CleanCrossEntropy as CleanCrossEntropy
    from quintain.training.objective import Objective as Objective
    from quintain.training.objective import StepContext as StepContext
    from quintain.training.recipe import Recipe as Recipe

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "CleanCrossEntropy": "quintain.training.objective",
        "FitResult": "quintain.training.loop",
        "Objective": "quintain.training.objective",
        "Recipe": "quintain.training.recipe",
        "StepContext": "quintain.training.objective",
        "fit": "quintain.training.loop",
    },
)
