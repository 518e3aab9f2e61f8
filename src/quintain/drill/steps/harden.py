"""The drill step that trains three models with a defense, and attacks the first two."""

from quintain.drill.context import PRIMARY_MODEL, SMOOTHED_MODEL, DrillContext
from quintain.drill.steps.attack import attacks
from quintain.evaluate.brackets import clean_accuracy_claim
from quintain.evaluate.evasion.attacks import run_attacks
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.harden import train_defense, with_epochs
from quintain.harden import GaussianAugmentation, IBPTraining, PGDTraining
from quintain.harden.defense import Defense
from quintain.results.robustness_records import HardenResult
from quintain.threats import Linf

SIGMA = 0.25
"""Standard deviation of the noise in training, and of the smoothed model."""

TRAINING_THREAT = Linf(4 / 255)
"""The threat that adversarial and certified training defend against."""


def defenses(context: DrillContext) -> dict[str, tuple[str, Defense]]:
    """Return the title and the defense of each model that the drill hardens, by the model's name."""
    workload = context.workload
    return {
        "adversarial": (
            "adversarial training",
            with_epochs(PGDTraining(TRAINING_THREAT), workload.adversarial_epochs),
        ),
        PRIMARY_MODEL: (
            "certified training",
            with_epochs(IBPTraining(TRAINING_THREAT), workload.certified_epochs),
        ),
        SMOOTHED_MODEL: ("noise training", with_epochs(GaussianAugmentation(SIGMA), workload.noise_epochs)),
    }


def run(context: DrillContext) -> StepOutput:
    """Train the three models, and run the attacks of the plain model on the first two.

    The third predicts as a smoothed model, which the step on certification evaluates.
    """
    trainings, attack_results, claims = [], [], []
    for name, (title, defense) in defenses(context).items():
        subject, training = train_defense(
            context.net(name),
            context.train,
            context.test,
            defense,
            name=name,
            title=title,
            seed=context.seed("harden", name),
            folder=context.folder,
            checkpoint=context.run.checkpoint(name),
            progress=context.progress,
        )
        trainings.append(training)
        claims.append(clean_accuracy_claim(subject, context.test, primary=name == PRIMARY_MODEL))
        if name != SMOOTHED_MODEL:
            attack_results.append(
                run_attacks(
                    subject,
                    context.test,
                    context.threats,
                    attacks(context),
                    seed=context.seed("attack"),
                    progress=context.progress,
                )
            )
    return StepOutput(HardenResult(tuple(trainings), tuple(attack_results)), tuple(claims))
