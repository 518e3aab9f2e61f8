"""Train privately beside a non-private training: what privacy costs, at one epsilon or at several."""

import copy
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from quintain.core import rounding
from quintain.core.progress import Progress, no_progress
from quintain.data.dataset import Dataset
from quintain.dp import Ledger, PrivatePlan, PrivateTrainingResult, Release, accounting, fit
from quintain.dp.report import ASSUMPTIONS
from quintain.dp.training.resume import ResumableRun
from quintain.evaluate.brackets import clean_accuracy_claim
from quintain.evaluate.model import EvaluatedModel, clean_counts
from quintain.evaluate.plain_training import train_until_converged
from quintain.evaluate.privacy_target import (
    PrivacyTarget,
    ProtectedRecords,
    delta_warnings,
    epsilon_upper_bound,
    plan_record,
)
from quintain.evaluate.step import StepOutput
from quintain.evaluate.training import train_and_test
from quintain.models.classifier import Classifier
from quintain.results.bounds import Bound, Bracket
from quintain.results.class_counts import ClassCounts
from quintain.results.privacy_records import PrivacyStatement, PrivateRun, PrivatizeResult
from quintain.results.quantity import Side
from quintain.results.records import Claim

NUM_CHECKPOINTS = 20
"""How often the state of a training is saved, and its accuracy shown."""

EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Epsilons of the sweep."""

MAIN = "main"
SECRET = "AES-256-CTR keyed by the operating system's entropy"


def run_privatize(
    net: nn.Module,
    train: Dataset,
    test: Dataset,
    target: PrivacyTarget,
    *,
    folder: Path,
    nonprivate_counts: ClassCounts | None = None,
    epsilons: Sequence[float] = (),
    batch_sizes: Sequence[int] = (),
    validation: Dataset | None = None,
    unfinished: Path | None = None,
    progress: Progress = no_progress,
) -> StepOutput:
    """Train a net with DP-SGD, and say what that costs in epsilon and in accuracy.

    Args:
        net: Fresh; trained in place.
        train: Records to protect.
        test: Examples for the accuracies.
        target: Epsilon, delta and the public settings.
        folder: Run folder for the weights.
        nonprivate_counts: Correct predictions of the same net trained without privacy; trained here if not
            given.
        epsilons: Other epsilons to train at, with the same batch size and steps.
        batch_sizes: Other batch sizes to train with, at the same epsilon and steps.
        validation: Examples whose accuracy is shown on the way, and which choose how long the plain model is
            trained; the test examples and a tenth of the training examples if not given.
        unfinished: Where runs that may be cut off keep their state; ``dp.resume.delete_unfinished`` it once
            the record is written.
        progress: Shows bars.

    Raises:
        PrivacyError: If a layer cannot be private.
        RunFolderError: If ``unfinished`` holds runs of another net, data set or budget.
    """
    plan, fresh = target.plan(len(train)), copy.deepcopy(net)
    by_epsilon = {
        f"epsilon-{epsilon:g}": replace(target, epsilon=epsilon).plan(len(train))
        for epsilon in epsilons
        if epsilon != target.epsilon
    }
    by_batch_size = {
        f"batch-{size}": replace(target, batch_size=size).plan(len(train))
        for size in batch_sizes
        if size != target.batch_size
    }
    others = by_epsilon | by_batch_size
    fits: list[PrivateTrainingResult] = []

    def work() -> tuple[float, ...]:
        fits.append(_fit_resumably(net, train, plan, MAIN, validation or test, unfinished, progress))
        return ()

    subject, training = train_and_test(
        net, work, folder, test, name="private", title="private model", settings=plan
    )
    plain = None
    if nonprivate_counts is None:
        plain = train_until_converged(
            fresh,
            train,
            test,
            validation=validation,
            reached=training.clean_counts.accuracy,
            checkpoints=unfinished,
            progress=progress,
        )
        nonprivate_counts = plain.counts
    trials = {MAIN: PrivateRun(plan_record(plan, len(train)), training.clean_counts, training.seconds)}
    for name, other in others.items():
        trials[name] = _trial(copy.deepcopy(fresh), train, test, other, name, unfinished, progress)
    runs = [(one.plan.noise_multiplier, one.plan.sample_rate, one.plan.steps) for one in trials.values()]
    result = PrivatizeResult(
        training=training,
        nonprivate_counts=nonprivate_counts,
        nonprivate_epochs=plain.epochs if plain else None,
        nonprivate_converged=plain.converged if plain else None,
        plan=trials[MAIN].plan,
        clipped_fraction=fits[0].clipped_fraction,
        statement=privacy_statement(fits[0].releases, plan, len(train), fits[0].report.runs[-1].noise),
        epsilon_sweep=_sweep(trials, by_epsilon, lambda one: one.plan.epsilon),
        batch_size_sweep=_sweep(trials, by_batch_size, lambda one: one.plan.expected_batch_size),
        composed_epsilon=accounting.composed_epsilon(runs, plan.delta) if others else None,
    )
    notes = (*delta_warnings(plan.delta, len(train)), *_notes(result))
    records = ProtectedRecords.of_run(train, unfinished)
    claims = _claims(subject, test, plan, records, fits[0].epsilon, primary=True)
    return StepOutput(result, claims, notes, reproducible=False)


def partial_privatize(
    net: nn.Module,
    train: Dataset,
    test: Dataset,
    target: PrivacyTarget,
    *,
    folder: Path,
    unfinished: Path,
    reason: str,
) -> StepOutput | None:
    """Return the result of a private training that was cut off, marked as partial.

    None where no step was saved.
    """
    kept = ResumableRun(unfinished / MAIN)
    if not kept.steps:
        return None
    plan = replace(target.plan(len(train)), steps=kept.steps)
    net.load_state_dict(kept.weights)
    subject, training = train_and_test(
        net, tuple, folder, test, name="private", title="private model, unfinished", settings=plan
    )
    ledger = Ledger()
    ledger.load_state_dict(kept.ledger)
    place = (
        f"after {kept.steps} of {target.steps} steps"
        if kept.steps < target.steps
        else "before the comparison was finished"
    )
    stop_reason = f"{reason} {place}"
    result = PrivatizeResult(
        training=training,
        nonprivate_counts=None,
        plan=plan_record(plan, len(train)),
        clipped_fraction=kept.clipped_fraction,
        statement=privacy_statement(ledger.releases, plan, len(train), SECRET),
        stop_reason=stop_reason,
    )
    notes = (f"PARTIAL: {stop_reason}", *_notes(result))
    records = ProtectedRecords.of_run(train, unfinished)
    claims = _claims(subject, test, plan, records, ledger.epsilon(plan.delta), primary=False)
    return StepOutput(result, claims, notes, reproducible=False)


def privacy_statement(
    releases: Sequence[Release], plan: PrivatePlan, records: int, source: str
) -> PrivacyStatement:
    """Return what the epsilon of these releases covers and what it rests on.

    Args:
        releases: As the run's own ledger has them.
        plan: With the steps that were taken.
        records: Number of records.
        source: Where the noise comes from.
    """
    found = Ledger(releases).guarantee(plan.delta)
    advantage = accounting.delta_curve(plan.noise_multiplier, plan.sample_rate(records), plan.steps)(0.0)
    return PrivacyStatement(
        epsilon_lower_bound=found.epsilon_lower,
        adversary_accuracy=(1 + advantage) / 2,
        adjacency=found.adjacency,
        privacy_unit=found.unit,
        sampling=found.sampling,
        noise=f"{found.noise}, {source}",
        reproducible=found.reproducible,
        warnings=found.warnings,
        assumptions=ASSUMPTIONS,
    )


def _fit_resumably(
    net: nn.Module,
    train: Dataset,
    plan: PrivatePlan,
    name: str,
    held_out: Dataset,
    unfinished: Path | None,
    progress: Progress,
) -> PrivateTrainingResult:
    """Train privately, resumable where there is a folder for it; show epsilon and accuracy on the way."""
    if unfinished is None:
        return fit(net, train, plan, progress=progress)
    twin = copy.deepcopy(net)

    def look(_step: int, spent: float) -> None:
        twin.load_state_dict(net.state_dict())
        accuracy = clean_counts(Classifier(twin.eval(), num_classes=held_out.num_classes), held_out).accuracy
        progress.set_status(f"epsilon {rounding.epsilon(spent)}, accuracy {100 * accuracy:.1f} %")

    state = ResumableRun(unfinished / name, every=max(1, plan.steps // NUM_CHECKPOINTS))
    try:
        return fit(net, train, plan, progress=progress, resume=state, on_checkpoint=look)
    except KeyboardInterrupt:
        kept = ResumableRun(unfinished / name).steps
        raise KeyboardInterrupt(
            f"{kept:,} of {plan.steps:,} steps of private training" if kept else ""
        ) from None


def _trial(
    net: nn.Module,
    train: Dataset,
    test: Dataset,
    plan: PrivatePlan,
    name: str,
    unfinished: Path | None,
    progress: Progress,
) -> PrivateRun:
    clock = time.perf_counter()
    _fit_resumably(net, train, plan, name, test, unfinished, progress)
    seconds = time.perf_counter() - clock
    return PrivateRun(
        plan_record(plan, len(train)),
        clean_counts(Classifier(net, num_classes=test.num_classes), test),
        seconds,
    )


def _sweep(
    trials: Mapping[str, PrivateRun], names: Collection[str], key: Callable[[PrivateRun], float]
) -> tuple[PrivateRun, ...]:
    """Return the trainings of one sweep, the main one among them, in order; none if there is no other."""
    return tuple(sorted((trials[name] for name in (*names, MAIN)), key=key)) if names else ()


def _claims(
    subject: EvaluatedModel,
    test: Dataset,
    plan: PrivatePlan,
    records: ProtectedRecords,
    epsilon: float,
    *,
    primary: bool,
) -> tuple[Claim, ...]:
    upper = epsilon_upper_bound(plan, records, epsilon)
    bracket = Bracket(Bound.trivial(upper.quantity, Side.LOWER), upper)
    claim = Claim("private:epsilon", "Privacy of each record", subject.name, bracket, primary=primary)
    return (clean_accuracy_claim(subject, test, primary=primary), claim)


def _notes(result: PrivatizeResult) -> tuple[str, ...]:
    """Return what epsilon does not cover."""
    notes = [
        "the fraction of clipped gradients is computed from the records without noise: keep it with the "
        "data's owner"
    ]
    if result.nonprivate_counts is not None:
        notes.append(
            "the non-private model was trained without privacy: its accuracy is for the data's owner too"
        )
    if result.composed_epsilon is not None:
        count = len({one.plan for one in (*result.epsilon_sweep, *result.batch_size_sweep)})
        notes.append(
            f"epsilon {rounding.epsilon(result.plan.epsilon)} holds if these settings were fixed in advance. "
            f"If you pick the best of these {count} trainings by accuracy, the whole selection costs epsilon "
            f"{rounding.epsilon(result.composed_epsilon)} (composition of all {count})"
        )
    return tuple(notes)
