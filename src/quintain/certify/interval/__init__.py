"""Interval bound propagation: lower bounds on margins by one pass of boxes through the traced net."""

from typing import TYPE_CHECKING

from quintain.certify.interval._index import EXPORTS
from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.certify.interval.certifier import IntervalBounds as IntervalBounds
    from quintain.certify.interval.certifier import worst_case_logits as worst_case_logits
    from quintain.certify.interval.graph import TracedNetwork as TracedNetwork

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
