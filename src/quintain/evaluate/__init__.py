"""The only mixer: attacks and certificates meet here in accuracy brackets, accountant and audit in epsilon brackets."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.evaluate.attacked import attack_models as attack_models
    from quintain.evaluate.brackets import robustness as robustness
    from quintain.evaluate.direct import attack as attack
    from quintain.evaluate.outcome import Outcome as Outcome

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Outcome": "quintain.evaluate.outcome",
        "attack": "quintain.evaluate.direct",
        "attack_models": "quintain.evaluate.attacked",
        "robustness": "quintain.evaluate.brackets",
    },
)
