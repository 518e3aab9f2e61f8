"""Training defenses: frozen settings for the one training loop."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports
from quintain.harden._index import EXPORTS

if TYPE_CHECKING:
    from quintain.harden._index import *
    from quintain.harden.defense import Defense as Defense
    from quintain.harden.defense import fit as fit

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
