"""Threat models: what an adversary may change, as frozen values that are written and read as exact text."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.threats.color import Color as Color
    from quintain.threats.compose import Compose as Compose
    from quintain.threats.l0 import L0 as L0
    from quintain.threats.l1 import L1 as L1
    from quintain.threats.l2 import L2 as L2
    from quintain.threats.light import ProjectedLight as ProjectedLight
    from quintain.threats.linf import Linf as Linf
    from quintain.threats.mask import Mask as Mask
    from quintain.threats.negative import Negative as Negative
    from quintain.threats.parametric import ParametricThreat as ParametricThreat
    from quintain.threats.patch import Patch as Patch
    from quintain.threats.rng import ExampleRNG as ExampleRNG
    from quintain.threats.spatial import Spatial as Spatial
    from quintain.threats.specs import parse as parse
    from quintain.threats.threat import Threat as Threat
    from quintain.threats.threat import check_in_box as check_in_box
    from quintain.threats.threat import contains as contains

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Threat": "quintain.threats.threat",
        "Color": "quintain.threats.color",
        "Compose": "quintain.threats.compose",
        "ExampleRNG": "quintain.threats.rng",
        "ParametricThreat": "quintain.threats.parametric",
        "L0": "quintain.threats.l0",
        "L1": "quintain.threats.l1",
        "L2": "quintain.threats.l2",
        "Linf": "quintain.threats.linf",
        "Mask": "quintain.threats.mask",
        "Negative": "quintain.threats.negative",
        "Patch": "quintain.threats.patch",
        "ProjectedLight": "quintain.threats.light",
        "Spatial": "quintain.threats.spatial",
        "contains": "quintain.threats.threat",
        "parse": "quintain.threats.specs",
        "check_in_box": "quintain.threats.threat",
    },
)
