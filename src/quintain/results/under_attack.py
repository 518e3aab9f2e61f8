"""Decide requirements on the accuracy under attack, which passes only by attacks that can be trusted."""

from collections.abc import Iterable
from dataclasses import replace

from quintain.core.threat_specs import threat_type
from quintain.results.bounds import Bracket
from quintain.results.evidence import CountEvidence
from quintain.results.literals import AIMED_AT, CLEAN_ERRORS_ONLY, REPLAY_OF
from quintain.results.quantity import Basis, Side
from quintain.results.records import Claim, StepResult
from quintain.results.requirements import Requirement
from quintain.results.robustness_records import (
    AttackedModel,
    AttackResult,
    EvaluateResult,
    HardenResult,
    ReplayResult,
)
from quintain.results.verdict import Decision, Verdict

HIGH = "high"
"""The trust in attacks where everything was looked at and nothing is wrong."""

NOT_DIAGNOSED = "not judged: the run holds no diagnostics of these attacks"
"""The trust in attacks where nothing was looked at."""


def decide_under_attack(requirement: Requirement, claim: Claim, results: Iterable[StepResult]) -> Verdict:
    """Decide on the accuracy under attack, by the number of examples that the attacks left correct.

    A lower limit passes only where trust in the attacks is high, or where as much is certified: what weak
    attacks leave shows nothing. A break needs no trust, so FAIL stays, and so does PASS of an upper limit.

    Args:
        requirement: A requirement on ``attacked_accuracy``.
        claim: The claim on robust accuracy that it is about.
        results: Result of each step of the run; the attacks' diagnostics are among them.
    """
    bracket = claim.bracket
    count = bracket.upper.evidence
    if not is_attacked(bracket) or not isinstance(count, CountEvidence):
        reason = (
            f"nothing was attacked at {requirement.threat}; use quintain evaluate or quintain attack with "
            f"--threat {requirement.threat}"
        )
        return Verdict(Decision.UNDECIDED, reason)
    by_bracket = compare_with_limit(requirement, bracket)
    if all(name.startswith(REPLAY_OF) for name in bracket.upper.method.split(" + ")):
        reason = (
            f"examples that were made on another model left {count.hits} of {count.trials}: "
            f"{by_bracket.reason}; quintain attack on this very model decides it"
        )
        return replace(by_bracket, reason=reason)
    if AIMED_AT in bracket.upper.method:
        reason = (
            f"attacks aimed at one class left {count.hits} of {count.trials}: {by_bracket.reason}; quintain "
            "attack without --target-class decides it"
        )
        return replace(by_bracket, reason=reason)
    # the count as the lower bound too, so that the comparison is with its own confidence interval
    lower = replace(bracket.upper, side=Side.LOWER, evidence=CountEvidence(count.hits, count.trials))
    verdict = compare_with_limit(requirement, replace(bracket, lower=lower))
    reason = f"attacks left {count.hits} of {count.trials} examples: {verdict.reason}"
    trust = trust_in(attacks_on(claim, results))
    if requirement.relation == ">=" and verdict.passed and not by_bracket.passed and trust != HIGH:
        why = f"{reason}; but trust is {trust}; {_remedy(trust)}"
        return Verdict(Decision.UNDECIDED, why)
    return replace(
        verdict, reason=f"{reason}; this is no robust accuracy, since a stronger attack may leave less"
    )


def compare_with_limit(requirement: Requirement, bracket: Bracket) -> Verdict:
    """Return the verdict of a bracket on what a requirement limits."""
    compare = bracket.at_least if requirement.relation == ">=" else bracket.at_most
    return compare(requirement.value, population=requirement.scope == "population")


def is_attacked(bracket: Bracket) -> bool:
    """Whether the upper bound of a robust accuracy comes from attacks, not from clean errors alone."""
    return bracket.upper.basis is not Basis.TRIVIAL and bracket.upper.method != CLEAN_ERRORS_ONLY


def trust_in(attacked: AttackedModel | None) -> str:
    """Return how far attacks can be trusted: ``high``, ``doubtful, because ...`` or ``not judged: ...``.

    Args:
        attacked: The model under these attacks; None where the run does not have it.
    """
    if attacked is None or attacked.diagnostics is None:
        return NOT_DIAGNOSED
    return attacked.diagnostics.summary


def attacks_on(claim: Claim, results: Iterable[StepResult]) -> AttackedModel | None:
    """Return the attacks behind a claim: the last ones on its model within its type of threat, if any."""
    within = threat_type(claim.bracket.quantity.threat)
    found = [
        one for one in attacked_models(results) if one.model == claim.model and one.threat_type == within
    ]
    return found[-1] if found else None


def attacked_models(results: Iterable[StepResult]) -> tuple[AttackedModel, ...]:
    """Return every model under attack, and every one that stored adversarial examples were run on."""
    found: list[AttackedModel] = []
    for result in results:
        match result:
            case AttackResult(models=models) | HardenResult(models=models):
                found += models
            case EvaluateResult(attacked=one) | ReplayResult(attacked=one):
                found.append(one)
    return tuple(found)


def _remedy(trust: str) -> str:
    """Say what would decide a requirement that attacks without trust left open."""
    if trust.startswith("doubtful"):
        what = "the attacks that docs/attacks.md names for these signs"
    elif " queries " in trust:
        what = "more queries (--max-queries, or --minutes of a drill)"
    else:
        what = "attacks that are judged (quintain attack)"
    return f"{what} may show it, or a certificate (quintain evaluate)"
