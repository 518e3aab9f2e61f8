"""The drill step that attacks the plainly trained model."""

from collections.abc import Mapping

from quintain.attacks import FGSM, Quick
from quintain.attacks.universal.adversarial_patch import side_marker
from quintain.drill.context import DrillContext
from quintain.evaluate.evasion.attacks import run_attacks
from quintain.evaluate.evasion.shard import AttackFn
from quintain.evaluate.evasion.stickers import evaluate_sticker
from quintain.evaluate.step import StepOutput
from quintain.results.robustness_records import AttackResult

NUM_PICTURES = 6
"""Adversarial examples that are kept as pictures."""

MARKER_TARGET = 0
"""The class that the side marker is to bring about, normal: a sick child is called healthy."""


def attacks(context: DrillContext) -> Mapping[str, AttackFn]:
    """Return the attacks that are run on every model of the drill, by name."""
    return {
        "fgsm": FGSM(),
        "quick": Quick(steps=context.workload.attack_steps, queries=context.workload.attack_queries),
    }


def run(context: DrillContext) -> StepOutput:
    """Run FGSM and the quick ensemble on the plain model at every eps, then fit a sticker."""
    subject = context.subject(context.trained().training.model)
    plain = run_attacks(
        subject,
        context.test,
        context.threats,
        attacks(context),
        seed=context.seed("attack"),
        folder=context.folder,
        num_pictures=NUM_PICTURES,
        progress=context.progress,
    )
    marker = evaluate_sticker(
        subject,
        context.train,
        context.test,
        side_marker(MARKER_TARGET, steps=context.workload.marker_steps),
        "a radiopaque side marker",
        seed=context.seed("marker"),
        folder=context.folder,
        progress=context.progress,
    )
    return StepOutput(AttackResult((plain,), (marker,)))
