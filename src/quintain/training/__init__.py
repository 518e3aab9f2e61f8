"""One resumable training loop, and what it is told."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.training.loop import Fitted as Fitted
    from quintain.training.loop import fit as fit
    from quintain.training.objective import Moment as Moment
    from quintain.training.objective import Objective as Objective
    from quintain.training.objective import Plain as Plain
    from quintain.training.recipe import Recipe as Recipe

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Fitted": "quintain.training.loop",
        "Moment": "quintain.training.objective",
        "Objective": "quintain.training.objective",
        "Plain": "quintain.training.objective",
        "Recipe": "quintain.training.recipe",
        "fit": "quintain.training.loop",
    },
)
