"""The drill step that trains three models with a defense, and attacks the first two."""

import math
from dataclasses import dataclass
from functools import partial

from quintain.core.progress import CHECKPOINT_SECONDS
from quintain.core.registry import get_entry
from quintain.core.threat_specs import threat_name
from quintain.drill.budget import Amount
from quintain.drill.context import ADVERSARIAL_MODEL, CERTIFIED_MODEL, SMOOTHED_MODEL, DrillContext
from quintain.drill.obstacles import needs_intervals, needs_training
from quintain.drill.settings import Workload
from quintain.drill.step import Estimate, Obstacle, Step, do_part
from quintain.drill.steps.attack import num_probed, probe_passes
from quintain.drill.threat_sizes import sigma_of
from quintain.drill.trials import Trials
from quintain.evaluate.brackets import clean_accuracy_claim, robustness_claims
from quintain.evaluate.evasion.attacks import run_attacks
from quintain.evaluate.model import EvaluatedModel
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.harden import train_defense, with_epochs
from quintain.harden import GaussianAugmentation, IBPTraining, PGDTraining
from quintain.harden.defense import Defense
from quintain.report import format as fmt
from quintain.results.records import Claim, NotDone
from quintain.results.robustness_records import AttackedModel, CertifyResult, HardenResult, TrainingRun
from quintain.threats import L2, Linf

MIN_EPOCHS = {ADVERSARIAL_MODEL: 3, CERTIFIED_MODEL: 8, SMOOTHED_MODEL: 3}
"""Fewer are no use."""


@dataclass(frozen=True, slots=True)
class Training:
    """A training with a defense.

    Args:
        title: For people.
        epochs: The field of ``Workload`` with its epochs.
        defense: The defense, or why it cannot be trained with.
    """

    title: str
    epochs: str
    defense: Defense | Obstacle


def trainings(context: DrillContext) -> dict[str, Training]:
    """Return the training of each model that the drill hardens, by the model's name."""
    threat, kind = context.threat, threat_name(context.threat.spec)
    pgd: Defense | Obstacle
    supported = get_entry("defense", "pgd-at").words("supports")
    if kind in supported:
        pgd = PGDTraining(threat)
    else:
        pgd = Obstacle(
            f"adversarial training takes {', '.join(supported)}, and the threat is {threat.spec}",
            "give one of these with --threat",
        )
    ibp: Defense | Obstacle | None = needs_intervals(context)
    if ibp is None:
        assert isinstance(threat, Linf | L2)
        ibp = IBPTraining(threat)
    return {
        ADVERSARIAL_MODEL: Training("adversarial training", "adversarial_epochs", pgd),
        CERTIFIED_MODEL: Training("certified training", "certified_epochs", ibp),
        SMOOTHED_MODEL: Training("noise training", "noise_epochs", GaussianAugmentation(sigma_of(threat))),
    }


def run(context: DrillContext) -> StepOutput:
    """Train the three models, and run the attacks of the plain model on the first two.

    The third predicts as a smoothed model, which the step on certification evaluates.
    """
    done: dict[str, tuple[EvaluatedModel, TrainingRun]] = {}
    attacked: dict[str, AttackedModel] = {}
    missing: list[NotDone] = []
    begun = 0
    for name, training in trainings(context).items():
        if isinstance(training.defense, Obstacle):
            missing.append(NotDone(training.title, training.defense.reason, training.defense.remedy))
            continue
        if begun == context.workload.hardened_models:
            reason = f"there was time for no more than {fmt.count(begun, 'training')} of useful length"
            missing.append(NotDone(training.title, reason, "give more --minutes and a new --out"))
            continue
        begun += 1
        work = partial(_train, context, name, training, training.defense)
        trained = do_part(training.title, work, missing)
        if trained is None:
            continue
        done[name] = trained
        if name != SMOOTHED_MODEL:
            broken = do_part(
                f"attacks on the {trained[0].file.title}", partial(_attack, context, trained[0]), missing
            )
            if broken is not None:
                attacked[name] = broken
    if context.run.has("certify", CertifyResult):
        reason = "there was time to train them only when the others were certified"
        missing.append(
            NotDone("certificates of the hardened models", reason, "give more --minutes and a new --out")
        )
    result = HardenResult(tuple(training for _, training in done.values()), tuple(attacked.values()))
    return StepOutput(result, _claims(context, done, attacked), not_done=tuple(missing))


def _train(
    context: DrillContext, name: str, training: Training, defense: Defense
) -> tuple[EvaluatedModel, TrainingRun]:
    subject, trained, _ = train_defense(
        context.net(name),
        context.train,
        context.test,
        with_epochs(defense, getattr(context.workload, training.epochs)),
        name=name,
        title=training.title,
        seed=context.seed("harden", name),
        folder=context.folder,
        checkpoint=context.run.checkpoint(name),
        progress=context.progress,
    )
    return subject, trained


def _attack(context: DrillContext, subject: EvaluatedModel) -> AttackedModel:
    return run_attacks(
        subject,
        context.test,
        context.threats,
        context.attacks,
        seed=context.seed("attack"),
        checkpoint_dir=context.run.unfinished("harden", subject.file.name),
        num_probed=num_probed(context.workload),
        checkpoint_seconds=math.inf if context.settings.is_bundled else CHECKPOINT_SECONDS,
        progress=context.progress,
    )


def _claims(
    context: DrillContext,
    done: dict[str, tuple[EvaluatedModel, TrainingRun]],
    attacked: dict[str, AttackedModel],
) -> tuple[Claim, ...]:
    """Return the clean accuracies; and what the attacks say, where no step on certificates will.

    Models that are trained when certificates are there are not what requirements are about.
    """
    primary = "" if context.run.is_finished("certify") else context.primary_model(done)
    claims = [
        clean_accuracy_claim(subject, context.test, primary=name == primary)
        for name, (subject, _) in done.items()
    ]
    if not context.is_certified_later:
        for name, one in attacked.items():
            claims += robustness_claims(
                done[name][0], context.test, context.threats, attacked=one, primary=name == primary
            )[1]
    return tuple(claims)


def estimate(context: DrillContext, trials: Trials) -> Estimate:
    """Return the time of the epochs, and of attacks that break nothing."""
    units = [
        (one.epochs, trials.defense(one.defense), name != SMOOTHED_MODEL)
        for name, one in trainings(context).items()
        if not isinstance(one.defense, Obstacle)
    ]
    forward, attack = trials.forward, trials.attack

    def seconds(workload: Workload) -> float:
        done = units[: workload.hardened_models]
        attacked = sum(is_attacked for _, _, is_attacked in done)
        on_example = attacked * attack + 2 * len(done) * forward
        return (
            workload.train_examples * sum(getattr(workload, epochs) * unit for epochs, unit, _ in done)
            + workload.test_examples * on_example
            + attacked * probe_passes(workload, 1.0) * forward
        )

    return seconds


def amounts(context: DrillContext) -> tuple[Amount, ...]:
    """Return the epochs of each training that is done, and how many there are."""
    epochs = tuple(
        Amount(
            one.epochs,
            f"epochs of {one.title}",
            MIN_EPOCHS[name],
            batch_size=one.defense.recipe.batch_size,
        )
        for name, one in trainings(context).items()
        if not isinstance(one.defense, Obstacle)
    )
    return (*epochs, Amount("hardened_models", "models with a defense, at most", 3, fewest=1))


STEP = Step("harden", run, estimate, needs_training, amounts=amounts, weight=3.0, worth=5, takes_at_most=True)
