"""Private training beside the plain one: what privacy costs, at one budget or along a curve of them."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from quintain.core import rounding
from quintain.core.progress import Progress, no_progress
from quintain.data.dataset import Dataset
from quintain.dp import Ledger, PrivateFit, PrivatePlan, Release, accounting, fit
from quintain.dp.record import ASSUMED
from quintain.dp.training.resume import Unfinished, salt_of
from quintain.evaluate.brackets import clean_claim
from quintain.evaluate.outcome import Outcome
from quintain.evaluate.private_plans import Budget, Protected, accounted, delta_warnings, describe
from quintain.evaluate.subject import Subject, clean_tally
from quintain.evaluate.training import trained
from quintain.models.classifier import Classifier
from quintain.results.bounds import Bound, Bracket
from quintain.results.class_counts import ClassCounts
from quintain.results.privacy_records import PrivacyStatement, PrivateRun, PrivatizeResult
from quintain.results.quantity import Side
from quintain.results.records import Claim
from quintain.training import Recipe
from quintain.training import fit as fit_plainly

PLAIN_EPOCHS = 8
LOOKS = 20
"""How often a run that may be cut off is written down, and looked at."""

EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Budgets of the curve."""

MAIN = "main"
SECRET = "AES-256-CTR keyed by the operating system's entropy"


def privatized_outcome(
    net: nn.Module,
    train: Dataset,
    test: Dataset,
    budget: Budget,
    *,
    folder: Path,
    plain: ClassCounts | None = None,
    epsilons: Sequence[float] = (),
    batches: Sequence[int] = (),
    held_out: Dataset | None = None,
    unfinished: Path | None = None,
    progress: Progress = no_progress,
) -> Outcome:
    """Train a net with DP-SGD, and say what that costs in epsilon and in accuracy.

    Args:
        net: Fresh; trained in place.
        train: Records to protect.
        test: Examples for the accuracies.
        budget: The target.
        folder: Run folder for the weights.
        plain: Right answers of the same net trained plainly; trained here if not given.
        epsilons: Other budgets to train at, with the same batch and steps.
        batches: Other batches to train with, at the same budget and steps.
        held_out: Examples whose accuracy is shown on the way.
        unfinished: Where runs that may be cut off keep their state; ``dp.resume.forget`` it once the record is written.
        progress: Shows bars.

    Raises:
        PrivacyError: If a layer cannot be private.
        RunFolderError: If ``unfinished`` holds runs of another net, data set or budget.
    """
    plan, fresh = budget.plan(len(train)), copy.deepcopy(net)
    others = {
        f"epsilon-{epsilon:g}": replace(budget, epsilon=epsilon).plan(len(train)) for epsilon in epsilons if epsilon != budget.epsilon
    }
    others |= {f"batch-{batch}": replace(budget, batch=batch).plan(len(train)) for batch in batches if batch != budget.batch}
    fits: list[PrivateFit] = []

    def work() -> tuple[float, ...]:
        fits.append(_fitted(net, train, plan, MAIN, held_out or test, unfinished, progress))
        return ()

    subject, training = trained(net, work, folder, test, name="private", title="private model", plan=plan)
    if plain is None:
        plain = _plain(copy.deepcopy(fresh), train, test, unfinished, progress)
    trials = {MAIN: PrivateRun(describe(plan, len(train)), training.clean_counts, training.seconds)}
    for name, other in others.items():
        trials[name] = _trial(copy.deepcopy(fresh), train, test, other, name, unfinished, progress)
    runs = [(one.plan.noise_multiplier, one.plan.sample_rate, one.plan.steps) for one in trials.values()]
    body = PrivatizeResult(
        training,
        plain,
        trials[MAIN].plan,
        fits[0].clipped_share,
        assurance(fits[0].releases, plan, len(train), fits[0].record.runs[-1].noise),
        _among(trials, "epsilon-", lambda one: one.plan.epsilon),
        _among(trials, "batch-", lambda one: one.plan.expected_batch_size),
        accounting.composed_epsilon(runs, plan.delta) if others else None,
    )
    notes = (*delta_warnings(plan.delta, len(train)), *_notes(body))
    records = Protected.of(train, None if unfinished is None else salt_of(unfinished))
    return Outcome(body, _claims(subject, test, plan, records, fits[0].epsilon, delivered=True), notes, reproducible=False)


def broken_off_outcome(
    net: nn.Module, train: Dataset, test: Dataset, budget: Budget, *, folder: Path, unfinished: Path, why: str
) -> Outcome | None:
    """What there is of a private training that was cut off, marked as such; None where no step is written down."""
    kept = Unfinished(unfinished / MAIN)
    if not kept.steps:
        return None
    plan = replace(budget.plan(len(train)), steps=kept.steps)
    net.load_state_dict(kept.weights)
    subject, training = trained(net, tuple, folder, test, name="private", title="private model, unfinished", plan=plan)
    ledger = Ledger()
    ledger.load_state_dict(kept.ledger)
    told = f"{why} after {kept.steps} of {budget.steps} steps" if kept.steps < budget.steps else f"{why} before the comparison was finished"
    body = PrivatizeResult(
        training,
        None,
        describe(plan, len(train)),
        kept.clipped_share,
        assurance(ledger.releases, plan, len(train), SECRET),
        stop_reason=told,
    )
    notes = (f"PARTIAL: {told}", *_notes(body))
    records = Protected.of(train, salt_of(unfinished))
    return Outcome(body, _claims(subject, test, plan, records, ledger.epsilon(plan.delta), delivered=False), notes, reproducible=False)


def assurance(releases: Sequence[Release], plan: PrivatePlan, records: int, source: str) -> PrivacyStatement:
    """What the epsilon of these releases speaks of and rests on.

    Args:
        releases: As the run's own ledger has them.
        plan: With the steps that were taken.
        records: n.
        source: Where the noise comes from.
    """
    found = Ledger(releases).guarantee(plan.delta)
    telling = accounting.delta_curve(plan.noise_multiplier, plan.sample_rate(records), plan.steps)(0.0)
    return PrivacyStatement(
        found.epsilon_lower,
        (1 + telling) / 2,
        found.adjacency,
        found.unit,
        found.sampling,
        f"{found.noise}, {source}",
        found.reproducible,
        found.warnings,
        ASSUMED,
    )


def _fitted(
    net: nn.Module,
    train: Dataset,
    plan: PrivatePlan,
    name: str,
    held_out: Dataset,
    unfinished: Path | None,
    progress: Progress,
) -> PrivateFit:
    """One private run, resumable where there is a place for it; on the way it shows what it spent and how well it does."""
    if unfinished is None:
        return fit(net, train, plan, progress=progress)
    twin = copy.deepcopy(net)

    def look(_step: int, spent: float) -> None:
        twin.load_state_dict(net.state_dict())
        accuracy = clean_tally(Classifier(twin.eval(), classes=held_out.classes), held_out).accuracy
        progress.set_status(f"epsilon {rounding.epsilon(spent)}, accuracy {100 * accuracy:.1f} %")

    state = Unfinished(unfinished / name, every=max(1, plan.steps // LOOKS))
    return fit(net, train, plan, progress=progress, resume=state, on_checkpoint=look)


def _plain(net: nn.Module, train: Dataset, test: Dataset, unfinished: Path | None, progress: Progress) -> ClassCounts:
    """Right answers of the net trained without privacy."""
    checkpoint = unfinished and unfinished / "plain.safetensors"
    fit_plainly(net, train, Recipe(epochs=PLAIN_EPOCHS), checkpoint=checkpoint, progress=progress, progress_label="plain training")
    return clean_tally(Classifier(net, classes=test.classes), test)


def _trial(
    net: nn.Module, train: Dataset, test: Dataset, plan: PrivatePlan, name: str, unfinished: Path | None, progress: Progress
) -> PrivateRun:
    clock = time.perf_counter()
    _fitted(net, train, plan, name, test, unfinished, progress)
    seconds = time.perf_counter() - clock
    return PrivateRun(describe(plan, len(train)), clean_tally(Classifier(net, classes=test.classes), test), seconds)


def _among(trials: dict[str, PrivateRun], prefix: str, key: Callable[[PrivateRun], float]) -> tuple[PrivateRun, ...]:
    """The trials of one kind with the main run among them, in order; none where there is only that."""
    found = [trial for name, trial in trials.items() if name.startswith(prefix)]
    return tuple(sorted([*found, trials[MAIN]], key=key)) if found else ()


def _claims(
    subject: Subject, test: Dataset, plan: PrivatePlan, records: Protected, epsilon: float, *, delivered: bool
) -> tuple[Claim, ...]:
    upper = accounted(plan, records, epsilon)
    bracket = Bracket(Bound.trivial(upper.quantity, Side.LOWER), upper)
    claim = Claim("private:epsilon", "Privacy of each record", subject.name, bracket, primary=delivered)
    return (clean_claim(subject, test), claim)


def _notes(body: PrivatizeResult) -> tuple[str, ...]:
    """What epsilon does not cover."""
    notes = ["the share of clipped gradients is computed from the records without noise: keep it with the data's owner"]
    if body.nonprivate_counts is not None:
        notes.append("the plain model was trained without privacy: its accuracy is for the data's owner too")
    if body.composed_epsilon is not None:
        count = len({one.plan for one in (*body.epsilon_sweep, *body.batch_size_sweep)})
        notes.append(
            f"epsilon {rounding.epsilon(body.plan.epsilon)} covers a plan that was chosen beforehand; choosing among these {count} private "
            f"trainings by their accuracies costs up to epsilon {rounding.epsilon(body.composed_epsilon)}, what all of them cost together"
        )
    return tuple(notes)
