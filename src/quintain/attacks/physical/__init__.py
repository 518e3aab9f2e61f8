"""Changes that could be printed, projected or worn, fitted on some pictures and scored on others."""

from quintain.core.lazy import lazy_exports

HOMES: dict[str, str] = {}

__getattr__, __dir__ = lazy_exports(__name__, HOMES)
