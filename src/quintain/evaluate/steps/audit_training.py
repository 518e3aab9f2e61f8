"""A second opinion on any training: an audit, by canaries among its records, of the epsilon it claims."""

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

MIN_RECORDS_PER_CANARY = 10
"""With fewer records per canary a note says that the canaries slow the training down."""

ASSUMPTIONS = (
    "assumed: trainings keep nothing of earlier ones (caches, files), and what is claimed holds for any "
    "record, with any label"
)


@dataclass(frozen=True, slots=True)
class AuditedClaim:
    """The privacy claim of a training, and how the audit tests it.

    Args:
        epsilon: The claimed epsilon; None to audit without a claim.
        delta: The claimed delta.
        adjacency: What neighboring data sets differ by.
        canary_kind: A key of ``CANARY_KINDS``, or an ``.npz`` file of canaries.
        canaries: Number of canaries.
        confidence: Confidence of each audit.

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
    """Audit a training as a black box, by the scores of canaries under its final model.

    If the audit's lower bound exceeds the claim, the audit is repeated at once with fresh canaries and coins,
    a fresh seed and another training. It ends when a bound does not exceed the claim, which stays suspect; or
    when the probability that all bounds exceed a true claim is below 1e-6 (five audits at 95 %), which is a
    contradiction. An audit that does not exceed the claim does not prove it: the final model shows far less
    than what the training may release.

    Args:
        training: The training, which makes its own net, noise and batches.
        train: The records.
        claim: The claim to audit.
        control: The same training without noise, by its owner's word; it is audited as well, and shows how
            large a leak such an audit finds.
        auditor: Computes the lower bound from the scores. The bound of an auditor that rests on an assumption
            is shown beside that of ``audit_one_run``, which is the one that counts.
        check_seed: Whether the first training is run twice, to find out whether its seed determines its
            result. Fresh secret noise is legitimate; the result says which it is.
        seed: Seed of canaries, coins, order of records and seeds of trainings.
        unfinished: Folder of finished trainings, from which the same call resumes after a kill.
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

    def train_and_score(black_box: BlackBoxTraining, name: str, repetition: int) -> CanaryScores:
        with progress.bar(f"training for the audit: {name}", 1) as advance:
            scores = kept.get(
                name,
                lambda: train_black_box(
                    black_box,
                    train,
                    make_canaries,
                    canaries=claim.canaries,
                    adjacency=claim.adjacency,
                    seed=derive_seed(seed, "second opinion", repetition),
                ),
            )
            advance(1)
        return scores

    bound_epsilon, assumed = bracket_side(auditor)

    def audit(scores: CanaryScores) -> EpsilonAudit:
        return bound_epsilon(
            scores.scores,
            scores.included,
            delta=claim.delta,
            confidence=claim.confidence,
            seed=derive_seed(seed, "ties"),
            quantity=quantity,
        )

    trainings = [train_and_score(training, "training-1", 0)]
    audits = [audit(trainings[0])]
    while (
        claim.epsilon is not None
        and audits[-1].epsilon > claim.epsilon
        and len(audits) < repetitions(claim.confidence)
    ):
        trainings.append(train_and_score(training, f"training-{len(trainings) + 1}", len(trainings)))
        audits.append(audit(trainings[-1]))
    repeats_with_seed = None
    if check_seed:
        again = train_and_score(training, "training-1-again", 0)
        repeats_with_seed = bool(np.array_equal(again.scores, trainings[0].scores))
    control_scores = None if control is None else train_and_score(control, "control", 0)
    control_audit = None if control_scores is None else audit(control_scores)

    def to_run(title: str, all_audits: list[EpsilonAudit], first: CanaryScores) -> AuditRun:
        experiment = Experiment(first.scores, first.included, coins="ours")
        return audit_run(title, all_audits, experiment, claim.delta, derive_seed(seed, "ties"), assumed)

    control_run = (
        None
        if control is None or control_scores is None or control_audit is None
        else to_run(control.name, [control_audit], control_scores)
    )
    result = SecondOpinionResult(
        subject=training.name,
        of="training",
        audit=to_run(training.name, audits, trainings[0]),
        claim=claim.epsilon,
        control=control_run,
        canary_kind=kind,
        repeats_with_seed=repeats_with_seed,
        training_seconds=tuple(one.training_seconds for one in trainings),
        audit_seconds=tuple(one.scoring_seconds for one in trainings),
        fit=trainings[0].fit,
    )
    title = f"Privacy of each record, {training.name}"
    bracket = Claim("second-opinion:epsilon", title, "private", result.bracket, primary=True)
    notes = [*_notes(result, claim, len(train)), *delta_warnings(claim.delta, len(train))]
    notes += _untrained_notes(training.name, trainings[0], audits[0])
    if control is not None and control_scores is not None and control_audit is not None:
        notes += _untrained_notes(control.name, control_scores, control_audit)
    return StepOutput(result, (bracket,), tuple(notes), reproducible=False)


def _notes(result: SecondOpinionResult, claim: AuditedClaim, records: int) -> list[str]:
    """Say what the reader must know of a second opinion on a training."""
    notes = [ASSUMPTIONS]
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
    if claim.canaries * MIN_RECORDS_PER_CANARY > records:
        notes.append(
            f"{claim.canaries} canaries among {records} records, more than one in {MIN_RECORDS_PER_CANARY}: "
            "the model learns less than without them; the audit is valid all the same"
        )
    if claim.epsilon is not None:
        notes += repetition_notes(result.audit, claim.epsilon)
    return notes


def _untrained_notes(name: str, scores: CanaryScores, audit: EpsilonAudit) -> list[str]:
    """Return a note if the model that a training returns seems to have learned nothing.

    A lower bound above 0 shows that it has learned something.
    """
    fit = scores.fit
    if not fit.seems_untrained or audit.epsilon > 0:
        return []
    return [
        f"{name} returns a model that is right on {fit.num_correct:,} of {fit.num_examples:,} records that "
        f"it was trained on, of which {max(fit.total):,} are of one class: it is not shown to have learned "
        "anything, and no audit of such a model tells whether its training is private; see that what "
        f"{name} returns is the trained model"
    ]
