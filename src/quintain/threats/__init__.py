"""Threat models: what an adversary may change, as frozen values that are written and read as exact text."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports
from quintain.threats._index import EXPORTS

if TYPE_CHECKING:
    from quintain.threats._index import *
    from quintain.threats.parametric import ParametricThreat as ParametricThreat
    from quintain.threats.rng import ExampleRNG as ExampleRNG
    from quintain.threats.specs import parse as parse
    from quintain.threats.threat import Threat as Threat
    from quintain.threats.threat import check_in_box as check_in_box
    from quintain.threats.threat import contains as contains

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
