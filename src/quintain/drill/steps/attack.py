"""Attack the plain model."""

from collections.abc import Mapping

from quintain.attacks import FGSM, Quick
from quintain.attacks.universal.adversarial_patch import side_marker
from quintain.drill.context import DrillContext
from quintain.evaluate.evasion.attacks import run_attacks
from quintain.evaluate.evasion.shard import AttackFn
from quintain.evaluate.evasion.stickers import evaluate_sticker
from quintain.evaluate.step import StepOutput
from quintain.results.robustness_records import AttackResult

PICTURES = 6


def attacks(stage: DrillContext) -> Mapping[str, AttackFn]:
    """The attacks that every model of the drill meets."""
    return {"fgsm": FGSM(), "quick": Quick(steps=stage.workload.attack_steps, queries=stage.workload.attack_queries)}


NORMAL = 0
"""The class that the side marker is after: a sick child that is called well."""


def run(stage: DrillContext) -> StepOutput:
    """FGSM and the quick ensemble on the plain model at every size, then a sticker, with pictures."""
    subject = stage.subject(stage.trained().training.model)
    plain = run_attacks(
        subject,
        stage.test,
        stage.threats,
        attacks(stage),
        seed=stage.seed("attack"),
        folder=stage.folder,
        num_pictures=PICTURES,
        progress=stage.progress,
    )
    marker = evaluate_sticker(
        subject,
        stage.train,
        stage.test,
        side_marker(NORMAL, steps=stage.workload.marker_steps),
        "a radiopaque side marker",
        seed=stage.seed("marker"),
        folder=stage.folder,
        progress=stage.progress,
    )
    return StepOutput(AttackResult((plain,), (marker,)))
