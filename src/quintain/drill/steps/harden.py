"""Train three models that resist: adversarially, with certified bounds, and under noise for smoothing."""

from quintain.drill.context import PRIMARY_MODEL, DrillContext
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


def defenses(stage: DrillContext) -> dict[str, tuple[str, Defense]]:
    """Return the drill's defenses: each name with its title and settings."""
    scale = stage.workload
    return {
        "adversarial": ("adversarial training", with_epochs(PGDTraining(TRAINED_AGAINST), scale.adversarial_epochs)),
        PRIMARY_MODEL: ("certified training", with_epochs(IBPTraining(TRAINED_AGAINST), scale.certified_epochs)),
        "noise": ("noise training", with_epochs(GaussianAugmentation(SIGMA), scale.noise_epochs)),
    }


def run(stage: DrillContext) -> StepOutput:
    """The three trainings, and the same attacks again on the first two; the third is met as a smoothed model."""
    trainings, attacked, claims = [], [], []
    for name, (title, defense) in defenses(stage).items():
        subject, training = train_defense(
            stage.net(name),
            stage.train,
            stage.test,
            defense,
            name=name,
            title=title,
            seed=stage.seed("harden", name),
            folder=stage.folder,
            checkpoint=stage.run.checkpoint(name),
            progress=stage.progress,
        )
        trainings.append(training)
        claims.append(clean_accuracy_claim(subject, stage.test, primary=name == PRIMARY_MODEL))
        if name != "noise":
            attacked.append(
                run_attacks(subject, stage.test, stage.threats, attacks(stage), seed=stage.seed("attack"), progress=stage.progress)
            )
    return StepOutput(HardenResult(tuple(trainings), tuple(attacked)), tuple(claims))
