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


def attacks(context: DrillContext) -> Mapping[str, AttackFn]:
    """The attacks that every model of the drill meets."""
    return {
        "fgsm": FGSM(),
        "quick": Quick(steps=context.workload.attack_steps, queries=context.workload.attack_queries),
    }


NORMAL = 0
"""The class that the side marker is after: a sick child that is called well."""


def run(context: DrillContext) -> StepOutput:
    """FGSM and the quick ensemble on the plain model at every size, then a sticker, with pictures."""
    subject = context.subject(context.trained().training.model)
    plain = run_attacks(
        subject,
        context.test,
        context.threats,
        attacks(context),
        seed=context.seed("attack"),
        folder=context.folder,
        num_pictures=PICTURES,
        progress=context.progress,
    )
    marker = evaluate_sticker(
        subject,
        context.train,
        context.test,
        side_marker(NORMAL, steps=context.workload.marker_steps),
        "a radiopaque side marker",
        seed=context.seed("marker"),
        folder=context.folder,
        progress=context.progress,
    )
    return StepOutput(AttackResult((plain,), (marker,)))
