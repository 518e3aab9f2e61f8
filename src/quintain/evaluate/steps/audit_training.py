"""A second opinion on anybody's training: a black box with canaries among its records, held to its claim."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from quintain.core import rounding
from quintain.core.errors import SettingError
from quintain.core.files import sha256_file
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.evaluate.audit_runs import audit_run, bracket_side, repetition_notes
from quintain.evaluate.kept_trainings import KeptTrainings
from quintain.evaluate.privacy_target import ProtectedRecords, delta_warnings
from quintain.evaluate.step import StepOutput
from quintain.leakage import Auditor, EpsilonAudit, Experiment, audit_one_run, repetitions
from quintain.leakage.black_box import BlackBoxTraining
from quintain.leakage.canary_kinds import canary_maker
from quintain.leakage.canary_training import CanaryScores, train_black_box
from quintain.results.privacy_records import AuditRun
from quintain.results.quantity import Metric, Quantity
from quintain.results.records import Claim
from quintain.results.second_opinion import SecondOpinionResult

SLOW_DOWN = 10
"""Fewer canaries than one in so many records change a training little; a note says where there are more."""

INDEPENDENT = (
    "assumed: trainings keep nothing of earlier ones (caches, files), and what is claimed holds for any "
    "record, with any label"
)


@dataclass(frozen=True, slots=True)
class AuditedClaim:
    """What is claimed of a training, and how the audit tests it.

    Args:
        epsilon: The claim; None where the audit alone is to be seen.
        delta: Of the claim.
        adjacency: What neighboring data sets differ by.
        canary_kind: A key of ``CANARY_KINDS``, or an ``.npz`` file of canaries.
        canaries: How many.
        confidence: Of each audit.

    Raises:
        SettingError: If a number is out of its range.
    """

    epsilon: float | None = None
    delta: float = 1e-5
    adjacency: Literal["add/remove", "replace"] = "add/remove"
    canary_kind: str = "mislabeled"
    canaries: int = 500
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.epsilon is not None and not 0 <= self.epsilon < np.inf:
            raise SettingError(f"got a claim of {self.epsilon}; expected an epsilon from 0 up, such as 3")
        if not 0 < self.delta < 1:
            raise SettingError(
                f"got delta {self.delta}; expected a number strictly between 0 and 1, such as 1e-5"
            )


def audit_training(
    training: BlackBoxTraining,
    train: Dataset,
    claim: AuditedClaim,
    *,
    control: BlackBoxTraining | None = None,
    auditor: Auditor = audit_one_run,
    check_seed: bool = False,
    seed: int = 0,
    unfinished: Path | None = None,
    progress: Progress = no_progress,
) -> StepOutput:
    """Audit a training that is seen from outside alone: by the scores of canaries under its final model.

    Where the audit crosses the claim, it is repeated at once, each time with fresh canaries and coins, a
    fresh seed and a training of its own, until one does not cross (the claim stays suspect), or chance
    explains with less than 1e-6 that all did: five at 95 %. That is a contradiction. A claim that is not
    crossed is not proved by it: the final model shows far less than what the training may release.

    Args:
        training: The training, which makes its own net, noise and batches.
        train: The records.
        claim: What is claimed of it.
        control: A training that is named as the same without noise; it is audited as well, and shows how much
            of a leak such an audit sees.
        auditor: Bounds epsilon by the scores. One that rests on an assumption is shown beside
            ``audit_one_run``, which then bounds epsilon.
        check_seed: Whether the first training is done twice, to tell whether it follows its seed alone. Fresh
            secret noise is legitimate; the result says which it is.
        seed: Of canaries, coins, order of records and seeds of trainings.
        unfinished: Where finished trainings are kept, so that the same call goes on after a kill.
        progress: Shows bars.

    Raises:
        SettingError: If there are not more records than canaries.
        ModelError: If a training fails, or its model does not fit the data.
        RunFolderError: If ``unfinished`` holds trainings of other settings.
    """
    kind, make_canaries = canary_maker(claim.canary_kind)
    records = ProtectedRecords.from_dataset(train)
    quantity = Quantity(
        Metric.EPSILON,
        training.file_hash,
        records.keyed_hash,
        delta=claim.delta,
        adjacency=claim.adjacency,
        privacy_unit=records.unit,
        released="last iterate",
    )
    kept = KeptTrainings(
        unfinished,
        {
            "training": [training.name, training.file_hash],
            "control": None if control is None else [control.name, control.file_hash],
            "data": train.hash,
            "kind or number of canaries": [claim.canary_kind, claim.canaries, claim.adjacency],
            "file of canaries": sha256_file(Path(claim.canary_kind).expanduser()) if kind == "own" else None,
            "seed": seed,
        },
    )

    def trained(of: BlackBoxTraining, name: str, repetition: int) -> CanaryScores:
        with progress.bar(f"training for the audit: {name}", 1) as done:
            found = kept.get(
                name,
                lambda: train_black_box(
                    of,
                    train,
                    make_canaries,
                    canaries=claim.canaries,
                    adjacency=claim.adjacency,
                    seed=derive_seed(seed, "second opinion", repetition),
                ),
            )
            done(1)
        return found

    bounds, assumed = bracket_side(auditor)

    def audited(seen: CanaryScores) -> EpsilonAudit:
        return bounds(
            seen.scores,
            seen.included,
            delta=claim.delta,
            confidence=claim.confidence,
            seed=derive_seed(seed, "ties"),
            quantity=quantity,
        )

    seen = [trained(training, "training-1", 0)]
    audits = [audited(seen[0])]
    while (
        claim.epsilon is not None
        and audits[-1].epsilon > claim.epsilon
        and len(audits) < repetitions(claim.confidence)
    ):
        seen.append(trained(training, f"training-{len(seen) + 1}", len(seen)))
        audits.append(audited(seen[-1]))
    follows = None
    if check_seed:
        again = trained(training, "training-1-again", 0)
        follows = bool(np.array_equal(again.scores, seen[0].scores))
    bare = None if control is None else trained(control, "control", 0)

    def run(title: str, of: list[EpsilonAudit], first: CanaryScores) -> AuditRun:
        experiment = Experiment(first.scores, first.included, coins="ours")
        return audit_run(title, of, experiment, claim.delta, derive_seed(seed, "ties"), assumed)

    result = SecondOpinionResult(
        subject=training.name,
        of="training",
        audit=run(training.name, audits, seen[0]),
        claim=claim.epsilon,
        control=None if bare is None or control is None else run(control.name, [audited(bare)], bare),
        canary_kind=kind,
        repeats_with_seed=follows,
        training_seconds=tuple(one.training_seconds for one in seen),
        audit_seconds=tuple(one.scoring_seconds for one in seen),
        fit=seen[0].fit,
    )
    title = f"Privacy of each record, {training.name}"
    bracket = Claim("second-opinion:epsilon", title, "private", result.bracket, primary=True)
    notes = [*_notes(result, claim, len(train)), *delta_warnings(claim.delta, len(train))]
    notes += _untrained(training.name, seen[0], audits[0])
    if bare is not None and control is not None:
        notes += _untrained(control.name, bare, audited(bare))
    return StepOutput(result, (bracket,), tuple(notes), reproducible=False)


def _notes(result: SecondOpinionResult, claim: AuditedClaim, records: int) -> list[str]:
    """Say what the reader must know of a second opinion on a training."""
    notes = [INDEPENDENT]
    if not result.can_contradict and claim.epsilon is not None:
        notes.append(
            f"an audit of {claim.canaries} canaries can show at most "
            f"{rounding.epsilon(result.audit.max_auditable_epsilon)}: it cannot contradict this claim"
        )
    if result.control and claim.epsilon is not None and result.control.lower.value <= claim.epsilon:
        notes.append(
            f"the control {result.control.title} was audited at "
            f"{rounding.epsilon(result.control.lower.value, up=False)}, not above the claimed "
            f"{rounding.epsilon(claim.epsilon)}: this audit is too weak to contradict the claim; use more "
            "canaries or another kind"
        )
    if claim.canaries * SLOW_DOWN > records:
        notes.append(
            f"{claim.canaries} canaries among {records} records, more than one in {SLOW_DOWN}: the model "
            "learns less than without them; the audit is valid all the same"
        )
    if claim.epsilon is not None:
        notes += repetition_notes(result.audit, claim.epsilon)
    return notes


def _untrained(name: str, seen: CanaryScores, audit: EpsilonAudit) -> list[str]:
    """Say of a training whether the model that it returns looks as if it had learned nothing.

    A bound above 0 shows that it has.
    """
    if not seen.fit.seems_untrained or audit.epsilon > 0:
        return []
    right, asked, most = seen.fit.num_correct, seen.fit.num_examples, max(seen.fit.total)
    return [
        f"{name} returns a model that is right on {right:,} of {asked:,} records that it was trained on, of "
        f"which {most:,} are of one class: it is not shown to have learned anything, and no audit of such a "
        f"model tells whether its training is private; see that what {name} returns is the trained model"
    ]
