"""Attack a model; nothing is proved of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from quintain.core.progress import Progress, no_progress
from quintain.data.dataset import Dataset
from quintain.evaluate.brackets import clean_accuracy_claim, robustness_claims
from quintain.evaluate.evasion.attacks import run_attacks
from quintain.evaluate.evasion.job import AttackFn
from quintain.evaluate.left_out import predict_left_out, with_left_out
from quintain.evaluate.model import EvaluatedModel
from quintain.evaluate.step import StepOutput
from quintain.evaluate.workers import SINGLE_PROCESS, WorkerGroup
from quintain.results.per_example import PerExample
from quintain.results.robustness_records import AttackResult
from quintain.results.run_layout import UNFINISHED
from quintain.threats.threat import Threat


def run_attack(
    subject: EvaluatedModel,
    data: Dataset,
    threats: Sequence[Threat],
    attacks: Mapping[str, AttackFn],
    *,
    seed: int = 0,
    folder: Path,
    num_pictures: int = 6,
    max_queries: int | None = None,
    target_class: int | None = None,
    sampled: Dataset | None = None,
    certified: PerExample | None = None,
    data_options: Mapping[str, str | int | None] | None = None,
    workers: WorkerGroup = SINGLE_PROCESS,
    progress: Progress = no_progress,
) -> StepOutput:
    """Attack a model; nothing is proved of it.

    Args:
        subject, data, threats, attacks, seed, max_queries, target_class, certified, data_options, workers,
            progress: As ``run_attacks`` takes them.
        folder: The run folder: it gets the pictures, the adversarial examples, and under ``UNFINISHED`` the
            finished chunks until the run is whole.
        num_pictures: How many adversarial examples are kept as pictures.
        sampled: All examples, those of the target class among them, which are left out of ``data``: the
            claims are about them. ``data`` if not given.
    """
    everything = data if sampled is None else sampled
    left_out = predict_left_out(subject, everything, target_class)
    attacked = run_attacks(
        subject,
        data,
        threats,
        attacks,
        seed=seed,
        folder=folder,
        num_pictures=num_pictures,
        max_queries=max_queries,
        target_class=target_class,
        certified=certified,
        checkpoint_dir=folder / UNFINISHED,
        data_options=data_options,
        workers=workers,
        progress=progress,
    )
    known = with_left_out(attacked.examples, everything, target_class, left_out)
    _, claims = robustness_claims(
        subject, everything, threats, attacked=replace(attacked, examples=known), primary=True
    )
    notes = []
    if target_class is not None:
        notes.append(
            f"Targeted attack: only the prediction {data.class_names[target_class]} counts as a break; "
            f"{len(left_out)} examples of that class are not attacked: in the claims they count by their "
            "unchanged prediction."
        )
    if attacked.stop_reason:
        notes.append(
            f"The run stopped early: {attacked.stop_reason}. {attacked.num_unattacked} examples that were "
            "not attacked count as unbroken."
        )
    clean = clean_accuracy_claim(subject, everything, predicted=np.array(known.predicted), primary=True)
    return StepOutput(AttackResult((attacked,)), (clean, *claims), tuple(notes))
