"""Attack a model with changes that are one for all pictures: fitted on some, scored on others."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from quintain.attacks.base import access_of, check_access
from quintain.core.progress import Progress, no_progress
from quintain.core.registry import Entry
from quintain.data.dataset import Dataset
from quintain.evaluate.brackets import clean_accuracy_claim
from quintain.evaluate.evasion.stickers import evaluate_sticker
from quintain.evaluate.model import EvaluatedModel
from quintain.evaluate.step import StepOutput
from quintain.results.robustness_records import AttackResult
from quintain.threats.threat import Threat


def run_universal(
    subject: EvaluatedModel,
    train: Dataset,
    test: Dataset,
    attacks: Mapping[str, Entry],
    threats: Sequence[Threat],
    *,
    target_class: int | None = None,
    seed: int = 0,
    folder: Path | None = None,
    num_pictures: int = 3,
    progress: Progress = no_progress,
) -> StepOutput:
    """Fit each attack on ``train``, and count its successes on ``test``, beside those of a random change.

    Nothing is proved of the model.

    Args:
        subject: The model.
        train, test: Pictures to fit on, and to score on.
        attacks: Registered universal attacks by name.
        threats: What may be changed, by the attacks that take a threat: each is fitted in each of them.
        target_class: The class that the attacks aim at.
        seed: Seed of fitting, views and the random changes.
        folder: Where pictures go.
        num_pictures: How many pictures on which an attack succeeds are kept.
        progress: Shows bars of steps.

    Raises:
        ModelError: If the model gives less access than an attack needs.
    """
    for name, entry in attacks.items():
        check_access(name, access_of(entry.fact("access")), subject.model)
    pairs = [
        (name, entry, threat)
        for name, entry in attacks.items()
        for threat in (threats if entry.words("supports") else (None,))
    ]
    stickers = [
        evaluate_sticker(
            subject,
            train,
            test,
            entry.build(target=target_class),
            f"{name}, {entry.summary}" + (f", within {threat.spec}" if threat else ""),
            threat=threat,
            target=target_class,
            seed=seed,
            folder=folder,
            num_pictures=num_pictures,
            picture_name=f"{name}-{number}",
            progress=progress,
        )
        for number, (name, entry, threat) in enumerate(pairs)
    ]
    note = (
        "How often a change succeeds is an estimate, for pictures and views like those that it was scored on."
    )
    return StepOutput(
        AttackResult((), tuple(stickers)), (clean_accuracy_claim(subject, test, primary=True),), (note,)
    )
