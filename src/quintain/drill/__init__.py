"""The drill over a run folder: each step is a function from earlier results to a result."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports
from quintain.drill._index import EXPORTS

if TYPE_CHECKING:
    from quintain.drill.pipeline import drill as drill
    from quintain.drill.settings import Settings as Settings

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
