"""Train three models with a defense: adversarially, with interval bounds, and under noise for smoothing."""

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
TRAINED_AGAINST = Linf(4 / 255)


def defenses(context: DrillContext) -> dict[str, tuple[str, Defense]]:
    """Return the drill's defenses: each name with its title and settings."""
    scale = context.workload
    return {
        "adversarial": (
            "adversarial training",
            with_epochs(PGDTraining(TRAINED_AGAINST), scale.adversarial_epochs),
        ),
        PRIMARY_MODEL: (
            "certified training",
            with_epochs(IBPTraining(TRAINED_AGAINST), scale.certified_epochs),
        ),
        SMOOTHED_MODEL: ("noise training", with_epochs(GaussianAugmentation(SIGMA), scale.noise_epochs)),
    }


def run(context: DrillContext) -> StepOutput:
    """Run the three trainings, and the same attacks again on the first two.

    The third is met as a smoothed model.
    """
    trainings, attacked, claims = [], [], []
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
            attacked.append(
                run_attacks(
                    subject,
                    context.test,
                    context.threats,
                    attacks(context),
                    seed=context.seed("attack"),
                    progress=context.progress,
                )
            )
    return StepOutput(HardenResult(tuple(trainings), tuple(attacked)), tuple(claims))
