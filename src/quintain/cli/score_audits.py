"""What ``audit --scores`` does: audit trainings that were done elsewhere, by the scores of their canaries."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from quintain.cli.ci_files import note_reason
from quintain.cli.requirement_threats import refuse_run_options
from quintain.core.errors import DataError, ExitCode, SettingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from quintain.cli.call import VerbCall
    from quintain.leakage import Auditor, EpsilonAudit, Experiment

CODES = {
    "CONSISTENT": ExitCode.OK,
    "SUSPECT": ExitCode.UNDECIDED,
    "CONTRADICTION": ExitCode.ALARM,
}
"""Exit codes by whether the audited epsilon and the claimed one can both be true."""

CONFIDENCE = 0.95


def audit_scores(
    call: "VerbCall", files: Sequence[Path], claim: float | None, delta: float, auditor: "Auditor"
) -> int:
    """Show what the scores of one training tell of its epsilon, and of repetitions with coins of their own.

    Args:
        call: Of the command.
        files: Of each training.
        claim: The epsilon that is claimed, None where none is.
        delta: Of both epsilons.
        auditor: Bounds epsilon by the scores. One that rests on an assumption is shown beside
            ``audit_one_run``, which then bounds epsilon.

    Raises:
        SettingError: If a claim has no scores, or is no epsilon.
        DataError: If a file holds no scores.
    """
    from quintain.core import rounding
    from quintain.evaluate.audit_runs import bracket_side
    from quintain.leakage import Experiment, audit_gaussian, joint_bound
    from quintain.results.bounds import Bound, Bracket
    from quintain.results.quantity import Basis, Side

    if not files:
        raise SettingError(
            f"got --claim {claim:g} without --scores; expected --scores s.npz, an audit of the project's own "
            "training has --epsilon"
        )
    refuse_run_options(call, "--scores")
    if claim is not None and not claim >= 0:
        raise SettingError(f"got --claim {claim}; expected an epsilon from 0 up, such as 3")
    read = [Experiment.read(file) for file in files]
    _refuse_copies(files, read)
    bounds, assumed = bracket_side(auditor)

    def run_audit(one: Experiment, by: "Auditor") -> "EpsilonAudit":
        return one.audit(by, delta=delta, confidence=CONFIDENCE, seed=call.seed)

    audits = [run_audit(one, bounds) for one in read]
    for file, one, audit in zip(files, read, audits, strict=True):
        gaussian = run_audit(one, audit_gaussian)
        call.console.print(
            f"{file}: epsilon at delta {delta:g} is at least {rounding.epsilon(audit.epsilon, up=False)} "
            f"({_guesses(audit)}{audit.canaries} canaries, {CONFIDENCE:.0%} confidence); "
            f"at least {rounding.epsilon(gaussian.epsilon, up=False)} if scores are independent and "
            "Gaussian; "
            f"so many canaries show at most {rounding.epsilon(audit.max_auditable_epsilon)}",
            markup=False,
            soft_wrap=True,
        )
        for other in assumed:
            other_audit = run_audit(one, other)
            call.print_dim(
                f"at least {rounding.epsilon(other_audit.epsilon, up=False)} by {other_audit.bound.method}, "
                f"if {'; '.join(other_audit.bound.assumptions)}: assumed, and no bound of the claim"
            )
    call.print_dim("assumed: inclusion coins fair and independent, which a file cannot prove")
    if claim is None:
        return ExitCode.OK
    lower = joint_bound(audits)
    upper = Bound(lower.quantity, Side.UPPER, claim, Basis.CLAIMED, method="claimed")
    found = Bracket(lower, upper).consistency
    line = f"{found}: {_meaning(found, len(files))}"
    call.console.print(line, markup=False, soft_wrap=True)
    note_reason(line)
    return CODES[found]


def _guesses(audit: "EpsilonAudit") -> str:
    """Say how many guesses were right, where an audit guesses."""
    from quintain.leakage import OneRunAudit

    return f"{audit.correct} of {audit.guesses} guesses right, " if isinstance(audit, OneRunAudit) else ""


def _refuse_copies(files: Sequence[Path], trainings: "Sequence[Experiment]") -> None:
    """Refuse trainings of the same coins, and copies in another order: one counted twice would look like two.

    Where all scores are equal, fresh coins may be the same but for their order by chance.
    """
    for (first, one), (second, other) in combinations(zip(files, trainings, strict=True), 2):
        if np.array_equal(one.included, other.included):
            raise DataError(
                f"{first} and {second} have the same canaries included; expected trainings with fresh coins"
            )
        if np.ptp(one.scores) > 0 and np.array_equal(_sorted_pairs(one), _sorted_pairs(other)):
            raise DataError(
                f"{first} and {second} hold the same scores and coins in another order; expected trainings "
                "with fresh coins"
            )


def _sorted_pairs(training: "Experiment") -> "NDArray[np.float64]":
    """Return scores and coins (2, m), sorted by both: the same for each order of the canaries."""
    pairs = np.stack([training.scores, training.included.astype(np.float64)])
    return pairs[:, np.lexsort(pairs)]


def _meaning(found: str, trainings: int) -> str:
    """Say what the answer means, and what to do."""
    if found == "CONTRADICTION":
        return "chance explains with less than 1e-6 that the claim is true"
    if found == "SUSPECT":
        return (
            "the claim was crossed, which chance alone does in one of twenty trainings and not in five of "
            f"five ({trainings} here): repeat the training with fresh coins, and give --scores for each"
        )
    return "the claim was not crossed, which does not prove it"
