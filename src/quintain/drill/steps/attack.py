"""Attack the plain model."""

from collections.abc import Mapping

from quintain.attacks import FGSM, quick
from quintain.drill.stage import Stage
from quintain.evaluate.attacked import attack_models
from quintain.evaluate.campaign import Attack
from quintain.evaluate.outcome import Outcome
from quintain.results.robustness_records import Attacked

PICTURES = 6


def attacks(stage: Stage) -> Mapping[str, Attack]:
    """The attacks that every model of the drill meets."""
    return {"fgsm": FGSM(), "quick": quick(steps=stage.scale.attack_steps, questions=stage.scale.attack_questions)}


def run(stage: Stage) -> Outcome:
    """FGSM and the quick ensemble on the plain model at every size, with pictures."""
    plain = attack_models(
        stage.subject(stage.trained().training.model),
        stage.test,
        stage.threats,
        attacks(stage),
        seed=stage.seed("attack"),
        folder=stage.folder,
        pictures=PICTURES,
        progress=stage.progress,
    )
    return Outcome(Attacked((plain,)))
