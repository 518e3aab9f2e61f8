"""Evasion: how far inside a threat a model's answer can be turned; every break is a point that anybody can replay."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.attacks.ascent import ascend as ascend
    from quintain.attacks.fgsm import FGSM as FGSM
    from quintain.attacks.fgsm import fgsm_attack as fgsm_attack
    from quintain.attacks.loop import climb as climb
    from quintain.attacks.outcome import Attack as Attack
    from quintain.attacks.outcome import AttackOutcome as AttackOutcome
    from quintain.attacks.pgd import PGD as PGD

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "FGSM": "quintain.attacks.fgsm",
        "PGD": "quintain.attacks.pgd",
        "Attack": "quintain.attacks.outcome",
        "AttackOutcome": "quintain.attacks.outcome",
        "ascend": "quintain.attacks.ascent",
        "climb": "quintain.attacks.loop",
        "fgsm_attack": "quintain.attacks.fgsm",
    },
)
