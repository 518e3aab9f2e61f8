"""The drill step that attacks the plainly trained or the given model."""

import math

from quintain.attacks.universal.adversarial_patch import AdversarialPatch, side_marker
from quintain.core.errors import ExecutionError
from quintain.core.progress import CHECKPOINT_SECONDS
from quintain.core.registry import entries
from quintain.core.threat_specs import threat_name
from quintain.drill.budget import Amount
from quintain.drill.context import DrillContext
from quintain.drill.settings import Workload
from quintain.drill.step import Estimate, Obstacle, Step, do_part, refusals_are_obstacles
from quintain.drill.trials import Trials
from quintain.evaluate.brackets import robustness_claims
from quintain.evaluate.evasion.attacks import run_attacks
from quintain.evaluate.evasion.decision_probe import NUM_WALKED, WALK_QUERIES
from quintain.evaluate.evasion.diagnostics import NUM_PROBED
from quintain.evaluate.evasion.job import AttackJob
from quintain.evaluate.evasion.stickers import evaluate_sticker
from quintain.evaluate.step import StepOutput
from quintain.results.records import Claim, NotDone
from quintain.results.robustness_records import AttackResult, StickerResult

NUM_PICTURES = 6
"""Adversarial examples that are kept as pictures."""

MARKER_TARGET = 0
"""The class that the side marker is to bring about, normal: a sick child is called healthy."""

FEWEST_QUERIES = 100
"""So few queries on each example find what is easily broken; of what they leave, trust is not judged."""

MARKER_BATCH = 16
"""Pictures of each step of fitting a sticker."""


FEWEST_PROBED, TESTED_PER_PROBED = 5, 6
"""The diagnostics probe one of so many test examples, up to their usual number; the first number at least."""

PROBE_PASSES = 600
"""Forward passes of the diagnostics on an example that is probed, or as much in gradients."""


def num_probed(workload: Workload) -> int:
    """Return how many examples the diagnostics probe."""
    return min(NUM_PROBED, max(FEWEST_PROBED, workload.test_examples // TESTED_PER_PROBED))


def probe_passes(workload: Workload, unbroken: float) -> float:
    """Return the forward passes that the diagnostics take as long as.

    Args:
        workload: How much of everything.
        unbroken: Fraction of the examples that the attacks leave unbroken.
    """
    probed = num_probed(workload)
    return probed * PROBE_PASSES + WALK_QUERIES * min(NUM_WALKED, probed * unbroken)


def run(context: DrillContext) -> StepOutput:
    """Run the attacks on the model at every size, then fit a sticker where the data are pictures.

    The sticker is left out where the attacks have taken the time of both.

    On the bundled X-rays no batch is split to keep what is done: the attacks take seconds there.
    """
    subject = context.stored_model(context.trained().training.model)
    attacked = run_attacks(
        subject,
        context.test,
        context.threats,
        context.attacks,
        seed=context.seed("attack"),
        folder=context.folder,
        num_pictures=NUM_PICTURES,
        checkpoint_dir=context.run.unfinished("attack"),
        num_probed=num_probed(context.workload),
        checkpoint_seconds=math.inf if context.settings.is_bundled else CHECKPOINT_SECONDS,
        data_options=context.data_options,
        progress=context.progress,
    )
    if attacked.stop_reason and attacked.num_unattacked == len(context.test):
        raise ExecutionError(attacked.stop_reason)
    claims: tuple[Claim, ...] = ()
    if not context.is_certified_later:
        primary = context.subject.comes_trained or "harden" not in context.planned
        _, claims = robustness_claims(
            subject, context.test, context.threats, attacked=attacked, primary=primary
        )
    missing = list(_no_sticker(context) or _no_time_for_sticker(context))
    sticker = None if missing else do_part("stickers", lambda: _sticker(context), missing)
    result = AttackResult((attacked,), (sticker,) if sticker else ())
    return StepOutput(result, claims, not_done=tuple(missing))


def _no_sticker(context: DrillContext) -> tuple[NotDone, ...]:
    """Say why no sticker is fitted, if none is."""
    if not context.subject.is_pictures:
        return (
            NotDone("stickers", "the data are no pictures", "nothing is to be done: they are for pictures"),
        )
    if context.subject.model.access != "gradients":
        return (
            NotDone(
                "stickers",
                f"{context.settings.model} gives no gradients to fit one by",
                "give the net itself: --model path/to/file.py:factory --weights FILE.safetensors",
            ),
        )
    if context.subject.train_size == 0:
        return (NotDone("stickers", "there is no train split to fit one on", "add one to the data"),)
    return ()


def _no_time_for_sticker(context: DrillContext) -> tuple[NotDone, ...]:
    """Say that the attacks alone took longer than planned for all of the step, if they did."""
    if not context.is_late():
        return ()
    return (
        NotDone(
            "stickers",
            "the attacks took much longer than was planned for them and for a sticker",
            "drill into a new folder while the machine is less busy, or with more --minutes",
        ),
    )


def _sticker(context: DrillContext) -> StickerResult:
    """Fit a sticker on training pictures: a side marker on X-rays, on others one that may lie anywhere."""
    steps = context.workload.marker_steps
    on_xrays = context.settings.is_bundled
    sticker = side_marker(MARKER_TARGET, steps=steps) if on_xrays else AdversarialPatch(steps=steps)
    return evaluate_sticker(
        context.stored_model(context.trained().training.model),
        context.train,
        context.test,
        sticker,
        "a radiopaque side marker" if on_xrays else "a printed sticker",
        seed=context.seed("marker"),
        folder=context.folder,
        progress=context.progress,
    )


@refusals_are_obstacles
def obstacle(context: DrillContext) -> Obstacle | None:
    """Return why the threat does not fit the data, if it does not."""
    entry = entries("threat")[threat_name(context.threat.spec)]
    pictures_only = entry.is_true("images_only") or entry.is_true("parametric")
    if pictures_only and not context.subject.is_pictures:
        return Obstacle(
            f"--threat {context.threat.spec} changes pictures, and the data are of shape "
            f"{context.test.shape}",
            "give a threat that every input has, such as --threat linf:4/255",
        )
    return None


def estimate(context: DrillContext, trials: Trials) -> Estimate:
    """Return the time of the attacks, and of fitting the sticker.

    On a given model few gradient steps tell how many examples stay unbroken, and take all the attack's time;
    a model that is not trained yet is taken for one on which all do. An attack without gradients takes so
    long as its queries on the examples that are classified right.
    """
    if context.subject.model.access != "gradients":
        job = AttackJob(context.threats, {}, seed=0, batch_size=1)
        runs = sum(len(job.threats_for(attack)) for attack in context.attacks.values())
        query = runs * trials.query * trials.correct
        return lambda workload: workload.test_examples * workload.black_box_queries * query
    unbroken = trials.unbroken if context.subject.comes_trained else 1.0
    on_example, forward = trials.attack * unbroken, trials.forward
    on_picture = 0.0 if _no_sticker(context) else 4 * trials.forward
    return lambda workload: (
        workload.test_examples * (on_example + on_picture)
        + workload.marker_steps * MARKER_BATCH * on_picture
        + probe_passes(workload, unbroken) * forward
    )


def amounts(context: DrillContext) -> tuple[Amount, ...]:
    """Return the queries on a model without gradients, or the steps of a sticker where one is fitted."""
    if context.subject.model.access != "gradients":
        return (Amount("black_box_queries", "queries on each example", 1_000, FEWEST_QUERIES),)
    return () if _no_sticker(context) else (Amount("marker_steps", "steps of fitting the sticker", 30),)


STEP = Step("attack", run, estimate, obstacle, needs=("train",), amounts=amounts, worth=7, takes_at_most=True)
