"""The accountant from above, the audit from below: the epsilon bracket of a training plan."""

import copy
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from quintain.core.errors import SettingError
from quintain.core.progress import Progress, silent
from quintain.core.seeds import derive
from quintain.data.dataset import Dataset
from quintain.dp import PrivatePlan, fit, measure
from quintain.evaluate.brackets import clean_claim
from quintain.evaluate.outcome import Outcome
from quintain.evaluate.subject import clean_tally
from quintain.evaluate.training import trained
from quintain.leakage import audit_one_run, one_run_experiment
from quintain.models.classifier import Classifier
from quintain.results.bounds import Bound, Bracket
from quintain.results.privacy_records import Audited, AuditRun, PrivacyPlan, Privatized
from quintain.results.quantity import Basis, Kind, Quantity, Side
from quintain.results.records import Claim
from quintain.results.tally import Tally
from quintain.training import Recipe
from quintain.training import fit as fit_plainly

ACCOUNTANT = "PLD (dp-accounting)"
ASSUMES = ("Gaussian noise and Poisson sampling as specified", "initial weights and settings do not depend on the data")
BINS = 30
PLAIN_EPOCHS = 8


@dataclass(frozen=True, slots=True)
class Budget:
    """What a private run may cost, and its public constants.

    Args:
        epsilon, delta: The target.
        batch: Expected examples a step.
        steps: Noisy steps.
        clip: C.
        rate: Learning rate.
    """

    epsilon: float = 3.0
    delta: float = 1e-5
    batch: int = 512
    steps: int = 276
    clip: float = 1.0
    rate: float = 0.5

    def plan(self, records: int) -> PrivatePlan:
        """The plan with the least noise that keeps the budget on so many records."""
        return PrivatePlan.at(
            epsilon=self.epsilon,
            n=records,
            delta=self.delta,
            max_grad_norm=self.clip,
            expected_batch_size=self.batch,
            steps=self.steps,
            rate=self.rate,
        )


def privatized_outcome(
    net: nn.Module,
    train: Dataset,
    test: Dataset,
    budget: Budget,
    *,
    folder: Path,
    plain: Tally | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Train a net with DP-SGD, and say what that costs in epsilon and in accuracy.

    Args:
        net: Fresh; trained in place.
        train: Records to protect.
        test: Examples for the accuracies.
        budget: The target.
        folder: Run folder for the weights.
        plain: Right answers of the same net trained plainly; trained here if not given.
        progress: Shows bars.
    """
    if plain is None:
        twin = copy.deepcopy(net)
        fit_plainly(twin, train, Recipe(epochs=PLAIN_EPOCHS), progress=progress)
        plain = clean_tally(Classifier(twin, classes=test.classes), test)
    plan = budget.plan(len(train))
    clipped: list[float] = []

    def work() -> tuple[float, ...]:
        clipped.append(fit(net, train, plan, progress=progress).clipped_share)
        return ()

    subject, training = trained(net, work, folder, test, name="private", title="private model", plan=plan)
    public = describe(plan, len(train))
    upper = accounted(plan, train)
    claim = Claim(
        "private:epsilon", "Privacy of each record", subject.name, Bracket(Bound.trivial(upper.of, Side.LOWER), upper), delivered=True
    )
    notes = ("the share of clipped gradients is computed from the records without noise: keep it with the data's owner",)
    body = Privatized(training, plain, public, clipped[0])
    return Outcome(body, (clean_claim(subject, test), claim), notes, reproducible=False)


def audited_outcome(
    net: nn.Module,
    train: Dataset,
    budget: Budget,
    *,
    canaries: int = 500,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Progress = silent,
) -> Outcome:
    """Run the plan on a twin with canaries, with and without noise, and measure noise and sampling.

    Args:
        net: Fresh; copies of it are trained.
        train: Records that the plan is for.
        budget: The claim to audit.
        canaries: m.
        confidence: Of the audited side.
        seed: Of coins and ties; noise and batches come from the operating system.
        progress: Shows bars.

    A measurement that differs from the plan is in the record, and raises ``SpecificationFailure`` once that is stored.

    Raises:
        SettingError: If there are not more records than canaries.
    """
    if len(train) <= canaries:
        raise SettingError(f"{canaries} canaries for {len(train)} records; expected fewer canaries than records, each takes one's place")
    plan = budget.plan(len(train))
    claimed = plan.epsilon(len(train))
    run, control = (
        _audit(
            net, train, plan, noise_multiplier=noise, canaries=canaries, confidence=confidence, seed=seed, title=title, progress=progress
        )
        for title, noise in (("the plan", plan.noise_multiplier), ("control: no noise", 0.0))
    )
    specification = measure(plan, len(train)).tests
    claim = Claim(
        "audited:epsilon", "Privacy of each record, audited", "private", Bracket(run.lower, accounted(plan, train)), delivered=True
    )
    notes = []
    if control.lower.value <= claimed:
        notes.append("the control without noise does not exceed the claim: this audit could not have seen a leak of that size")
    if run.ceiling < claimed:
        notes.append(f"an audit of {canaries} canaries can show at most {run.ceiling:.2f}: it cannot contradict this claim")
    body = Audited(describe(plan, len(train)), run, control, specification)
    return Outcome(body, (claim,), tuple(notes), reproducible=False)


def quantity(plan: PrivatePlan, train: Dataset) -> Quantity:
    """The epsilon of a plan: its subject is the mechanism, not the weights that came out."""
    mechanism = hashlib.sha256(f"dp-sgd {plan!r} {len(train)}".encode()).hexdigest()
    return Quantity(Kind.EPSILON, mechanism, train.hash, delta=plan.delta, adjacency="add/remove", unit="image", released="all iterates")


def accounted(plan: PrivatePlan, train: Dataset) -> Bound:
    """The accountant's side."""
    return Bound(quantity(plan, train), Side.UPPER, plan.epsilon(len(train)), Basis.PROOF, None, ACCOUNTANT, ASSUMES)


def describe(plan: PrivatePlan, records: int) -> PrivacyPlan:
    """A plan's public constants."""
    return PrivacyPlan(
        plan.noise_multiplier,
        plan.max_grad_norm,
        plan.expected_batch_size,
        plan.sample_rate(records),
        plan.steps,
        plan.delta,
        plan.epsilon(records) if plan.noise_multiplier else math.inf,
        ACCOUNTANT,
    )


def _audit(
    net: nn.Module,
    train: Dataset,
    plan: PrivatePlan,
    *,
    noise_multiplier: float,
    canaries: int,
    confidence: float,
    seed: int,
    title: str,
    progress: Progress,
) -> AuditRun:
    """One run with canaries in the place of as many records, so that all public constants stay the plan's."""

    def work(twin: nn.Module, planted: Dataset, observe: Callable[[int, torch.Tensor], None]) -> None:
        fit(twin, planted, replace(plan, noise_multiplier=noise_multiplier), progress=progress, on_step=observe)

    kept = train.subset(np.arange(len(train) - canaries))
    seen = one_run_experiment(work, copy.deepcopy(net), kept, canaries=canaries, clip=plan.max_grad_norm, seed=derive(seed, "audit"))
    unit = plan.max_grad_norm / plan.expected_batch_size
    inside, outside = seen.scores(rate=plan.sample_rate(len(train)), noise_multiplier=plan.noise_multiplier, unit=unit)
    audit = audit_one_run(inside, outside, delta=plan.delta, confidence=confidence, seed=derive(seed, "ties"), of=quantity(plan, train))
    edges = np.histogram_bin_edges(np.concatenate([inside, outside]), bins=BINS)
    return AuditRun(
        title,
        audit.bound,
        audit.ceiling,
        audit.canaries,
        audit.guesses,
        audit.correct,
        confidence,
        tuple(float(edge) for edge in edges),
        tuple(int(count) for count in np.histogram(inside, edges)[0]),
        tuple(int(count) for count in np.histogram(outside, edges)[0]),
    )
