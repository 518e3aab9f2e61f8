"""Train three models that resist: adversarially, with certified bounds, and under noise for smoothing."""

from quintain.drill.stage import HEADLINE, Stage
from quintain.drill.steps.attack import attacks
from quintain.evaluate.attacked import attack_models
from quintain.evaluate.brackets import clean_claim
from quintain.evaluate.hardening import harden, with_epochs
from quintain.evaluate.outcome import Outcome
from quintain.harden import GaussianAugmentation, IBPTraining, PGDTraining
from quintain.harden.defense import Defense
from quintain.results.robustness_records import HardenResult
from quintain.threats import Linf

SIGMA = 0.25
TRAINED_AGAINST = Linf(4 / 255)


def defenses(stage: Stage) -> dict[str, tuple[str, Defense]]:
    """Return the drill's defenses: each name with its title and settings."""
    scale = stage.scale
    return {
        "adversarial": ("adversarial training", with_epochs(PGDTraining(TRAINED_AGAINST), scale.adversarial_epochs)),
        HEADLINE: ("certified training", with_epochs(IBPTraining(TRAINED_AGAINST), scale.certified_epochs)),
        "noise": ("noise training", with_epochs(GaussianAugmentation(SIGMA), scale.noise_epochs)),
    }


def run(stage: Stage) -> Outcome:
    """The three trainings, and the same attacks again on the first two; the third is met as a smoothed model."""
    trainings, attacked, claims = [], [], []
    for name, (title, defense) in defenses(stage).items():
        subject, training = harden(
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
        claims.append(clean_claim(subject, stage.test, delivered=name == HEADLINE))
        if name != "noise":
            attacked.append(
                attack_models(subject, stage.test, stage.threats, attacks(stage), seed=stage.seed("attack"), progress=stage.progress)
            )
    return Outcome(HardenResult(tuple(trainings), tuple(attacked)), tuple(claims))
