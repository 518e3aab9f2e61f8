"""Rules that compute per-example gradients, one for each kind of layer.

A rule gets the layer, what went into it, the gradient of the loss at what came out, batch first in both, and
the names of its parameters to train; it returns a ``PerExampleGrads`` for each, or plain tensors (B, *shape).
An empty batch never reaches it. ``AllInputsRule`` gets all arguments of the call; ``CustomForwardRule`` runs
in place of the layer's own forward.

Each module of this folder registers its own rules, and all are imported here; those of other packages have
entry points (``quintain.layer_rule``). A new rule is a new file.
"""

from importlib import import_module
from pkgutil import iter_modules

from quintain.dp.rules.protocol import AllInputsRule, CustomForwardRule, LayerCall, Rule
from quintain.dp.rules.registry import EXAMPLES, RULES, register_rule
from quintain.dp.rules.vmap_fallback import VMAP_RULE

__all__ = [
    "EXAMPLES",
    "RULES",
    "VMAP_RULE",
    "AllInputsRule",
    "CustomForwardRule",
    "LayerCall",
    "Rule",
    "register_rule",
]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
