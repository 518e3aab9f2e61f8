"""Decide requirements on the accuracy under attack; a lower limit passes only if attacks can be trusted."""

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

HIGH_TRUST = "high"
"""The trust in attacks whose diagnostics are complete and triggered no indicator."""

NOT_DIAGNOSED = "not judged: the run holds no diagnostics of these attacks"
"""The trust in attacks without diagnostics."""


def decide_under_attack(requirement: Requirement, claim: Claim, results: Iterable[StepResult]) -> Verdict:
    """Decide on the accuracy under attack, by the number of examples that the attacks left correct.

    A lower limit passes only where trust in the attacks is high, or where as much is certified: examples that
    weak attacks leave unbroken show nothing. A broken example needs no trust, so a failed lower limit and a
    passed upper limit stand whatever the trust.

    Args:
        requirement: A requirement on ``attacked_accuracy``.
        claim: The claim on robust accuracy under the required threat.
        results: The results of all steps of the run, which have the attacks' diagnostics.
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
    # on the tested examples the accuracy under attack is known, so both bounds are the count; the comparison
    # then uses the count's own confidence interval
    lower = replace(bracket.upper, side=Side.LOWER, evidence=CountEvidence(count.hits, count.trials))
    verdict = compare_with_limit(requirement, replace(bracket, lower=lower))
    reason = f"attacks left {count.hits} of {count.trials} examples: {verdict.reason}"
    trust = trust_in(attacks_behind(claim, results))
    if requirement.relation == ">=" and verdict.passed and not by_bracket.passed and trust != HIGH_TRUST:
        return Verdict(Decision.UNDECIDED, f"{reason}; but trust is {trust}; {_remedy(trust)}")
    return replace(
        verdict, reason=f"{reason}; this is no robust accuracy, since a stronger attack may leave less"
    )


def compare_with_limit(requirement: Requirement, bracket: Bracket) -> Verdict:
    """Return the verdict on a requirement whose quantity lies within a bracket."""
    compare = bracket.at_least if requirement.relation == ">=" else bracket.at_most
    return compare(requirement.value, population=requirement.scope == "population")


def is_attacked(bracket: Bracket) -> bool:
    """Whether the upper bound of a robust accuracy comes from attacks, not from clean errors alone."""
    return bracket.upper.basis is not Basis.TRIVIAL and bracket.upper.method != CLEAN_ERRORS_ONLY


def trust_in(attacked: AttackedModel | None) -> str:
    """Return how far attacks can be trusted: ``high``, ``doubtful, because ...`` or ``not judged: ...``.

    Args:
        attacked: The attacked model with the diagnostics of its attacks; None if the run has none.
    """
    if attacked is None or attacked.diagnostics is None:
        return NOT_DIAGNOSED
    return attacked.diagnostics.summary


def attacks_behind(claim: Claim, results: Iterable[StepResult]) -> AttackedModel | None:
    """Return the last attacks on the model of a claim under a threat of its type; None if there are none."""
    claimed_type = threat_type(claim.bracket.quantity.threat)
    found = [
        one
        for one in attacked_models(results)
        if one.model == claim.model and one.threat_type == claimed_type
    ]
    return found[-1] if found else None


def attacked_models(results: Iterable[StepResult]) -> tuple[AttackedModel, ...]:
    """Return every model that was attacked or on which stored adversarial examples were replayed."""
    found: list[AttackedModel] = []
    for result in results:
        match result:
            case AttackResult(models=models) | HardenResult(models=models):
                found += models
            case EvaluateResult(attacked=one) | ReplayResult(attacked=one):
                found.append(one)
    return tuple(found)


def _remedy(trust: str) -> str:
    """Return what would decide a requirement that is open because trust in the attacks is not high."""
    if trust.startswith("doubtful"):
        what = "the attacks that docs/attacks.md names for these indicators"
    elif " queries " in trust:  # "not judged: ..." where an attack had too few of them
        what = "more queries (--max-queries, or --minutes of a drill)"
    else:
        what = "attacks that are judged (quintain attack)"
    return f"{what} may show it, or a certificate (quintain evaluate)"
