"""Attack a model with changes that are one for all pictures: fitted on some, scored on others."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from quintain.attacks.base import access_of, check_access
from quintain.core.progress import Progress, no_progress
from quintain.core.registry import Entry
from quintain.data.dataset import Dataset
from quintain.evaluate.brackets import clean_accuracy_claim
from quintain.evaluate.chunk_settings import check_chunk_settings, save_chunk_settings
from quintain.evaluate.evasion.stickers import evaluate_sticker
from quintain.evaluate.model import EvaluatedModel
from quintain.evaluate.step import StepOutput
from quintain.models.devices import device_of
from quintain.models.loop_checkpoints import Checkpoints
from quintain.results.robustness_records import AttackResult
from quintain.results.run_layout import CHUNK_SETTINGS_FILE
from quintain.threats.threat import Threat
from quintain.version import __version__


def run_universal(
    subject: EvaluatedModel,
    train: Dataset,
    test: Dataset,
    attacks: Mapping[str, Entry],
    threats: Sequence[Threat],
    *,
    sampled: Dataset | None = None,
    target_class: int | None = None,
    seed: int = 0,
    folder: Path | None = None,
    num_pictures: int = 3,
    unfinished: Path | None = None,
    progress: Progress = no_progress,
) -> StepOutput:
    """Fit each attack on ``train``, and count its successes on ``test``, beside those of a random change.

    Nothing is proved of the model.

    Args:
        subject: The model.
        train, test: Pictures to fit on, and to score on.
        attacks: Registered universal attacks by name.
        threats: What may be changed, by the attacks that take a threat: each is fitted in each of them.
        sampled: All pictures, those of the target class among them, which are left out of ``test``: the clean
            accuracy is that on them. ``test`` if not given.
        target_class: The class that the attacks aim at.
        seed: Seed of fitting, views and the random changes.
        folder: Where pictures go.
        num_pictures: How many pictures on which an attack succeeds are kept.
        unfinished: Where the fits keep their state, so that the same call resumes after a kill; to be deleted
            once the record is written. Scoring is done again.
        progress: Shows bars of steps.

    Raises:
        ModelError: If the model gives less access than an attack needs.
        RunFolderError: If ``unfinished`` holds fits on another model, on other data or of other settings.
    """
    for name, entry in attacks.items():
        check_access(name, access_of(entry.fact("access")), subject.model)
    pairs = [
        (name, entry, threat)
        for name, entry in attacks.items()
        for threat in (threats if entry.words("supports") else (None,))
    ]
    built = [(name, entry.build(target=target_class), entry.summary, threat) for name, entry, threat in pairs]
    settings = _settings(subject, train, built, seed)
    kept = Checkpoints(unfinished, settings)
    if unfinished:
        # The folder may hold chunks of attacks on single examples, which look at the same file.
        check_chunk_settings(unfinished / CHUNK_SETTINGS_FILE, settings)
        save_chunk_settings(unfinished / CHUNK_SETTINGS_FILE, settings)
    try:
        stickers = [
            evaluate_sticker(
                subject,
                train,
                test,
                attack,
                f"{name}, {summary}" + (f", within {threat.spec}" if threat else ""),
                threat=threat,
                target=target_class,
                seed=seed,
                folder=folder,
                num_pictures=num_pictures,
                picture_name=f"{name}-{number}",
                checkpoints=kept.within(str(number)),
                progress=progress,
            )
            for number, (name, attack, summary, threat) in enumerate(built)
        ]
    except KeyboardInterrupt:
        steps = sum(kept.kept_steps.values())
        if unfinished and not steps:
            (unfinished / CHUNK_SETTINGS_FILE).unlink()
        raise KeyboardInterrupt(f"{steps:,} steps of fitting" if steps else "") from None
    note = (
        "How often a change succeeds is an estimate, for pictures and views like those that it was scored on."
    )
    clean = clean_accuracy_claim(subject, test if sampled is None else sampled, primary=True)
    return StepOutput(AttackResult((), tuple(stickers)), (clean,), (note,))


def _settings(
    subject: EvaluatedModel,
    train: Dataset,
    attacks: Sequence[tuple[str, object, str, Threat | None]],
    seed: int,
) -> dict[str, object]:
    """What all fits depend on."""
    return {
        "quintain": __version__,
        "torch": torch.__version__,
        "device": str(device_of(subject.model)),
        "model": subject.file.model_hash,
        "data": train.hash,
        "attacks": [
            f"{attack!r} within {threat.spec if threat else 'its own'}" for _, attack, _, threat in attacks
        ],
        "seed": seed,
    }
