"""Choose the claims at the top of the report, and the threat that models are compared at."""

from collections.abc import Sequence

from quintain.core.registry import entries
from quintain.core.threat_specs import threat_name, threat_type
from quintain.report import format as fmt
from quintain.report.run_results import RunResults
from quintain.results.quantity import Basis, Metric, Quantity
from quintain.results.records import Claim

_METRICS = (
    Metric.ROBUST_ACCURACY,
    Metric.EPSILON,
    Metric.MEMBERSHIP_TPR,
    Metric.MEMBERSHIP_ADVANTAGE,
    Metric.REIDENTIFIED,
    Metric.CLEAN_ACCURACY,
)
"""In the order of their cards."""


def key_claims(run: RunResults) -> tuple[Claim, ...]:
    """Return the claims at the top of the report.

    Every epsilon; every claim that a requirement was decided on or whose bounds cross; and per model and
    threat type one eps: the required one, else the one that the registered threat names as usual, else the
    middle one. Clean accuracy only if there is nothing else.
    """
    required = {one.claim_name for one in run.requirement_results}
    named = required | {claim.name for claim, _ in run.inconsistencies}
    best = _best(run.claims, named)
    threats = _key_threats(best, required)
    chosen = [
        claim
        for claim in best
        if claim.name in named
        or claim.bracket.quantity.metric is Metric.EPSILON
        or claim.bracket.quantity.threat in threats
    ]
    selected = chosen or list(best)
    types = [threat_type(claim.bracket.quantity.threat) for claim in _primary_first(selected)]

    def order(claim: Claim) -> tuple[int, int]:
        quantity = claim.bracket.quantity
        return _METRICS.index(quantity.metric), types.index(threat_type(quantity.threat))

    return tuple(sorted(selected, key=order))


def primary_threat(run: RunResults) -> str:
    """Return the threat that models are compared at: that of the first primary key claim, else of the first
    one; empty where no key claim has a threat.
    """
    threats = (claim.bracket.quantity.threat for claim in _primary_first(key_claims(run)))
    return next(filter(None, threats), "")


def _best(claims: Sequence[Claim], named: set[str]) -> tuple[Claim, ...]:
    """Return one claim for each model and quantity, the one with fewer trivial bounds, of equals the later;
    and the named ones.
    """
    best: dict[tuple[str, Quantity], Claim] = {}
    for claim in claims:
        key = (claim.model, claim.bracket.quantity)
        known = best.get(key)
        if known is None or _trivial_sides(claim) <= _trivial_sides(known):
            best[key] = claim
    kept = {claim.name for claim in best.values()} | named
    return tuple(claim for claim in claims if claim.name in kept)


def _key_threats(claims: Sequence[Claim], required: set[str]) -> set[str]:
    """Return one threat for each threat type: of several sizes the one that says most."""
    every = [claim for claim in claims if claim.bracket.quantity.threat]
    chosen = set()
    for one in {threat_type(claim.bracket.quantity.threat) for claim in every}:
        same = [claim for claim in every if threat_type(claim.bracket.quantity.threat) == one]
        specs = sorted({claim.bracket.quantity.threat for claim in same}, key=fmt.eps_of)
        wanted = [claim.bracket.quantity.threat for claim in same if claim.name in required]
        usual = [spec for spec in specs if spec == _usual_spec(spec)]
        chosen.add((wanted or usual or [specs[(len(specs) - 1) // 2]])[0])
    return chosen


def _usual_spec(spec: str) -> str:
    """Return the usual threat of the same kind, by its registered entry; empty where it names none."""
    entry = entries("threat").get(threat_name(spec))
    return entry.fact("usual") if entry else ""


def _primary_first(claims: Sequence[Claim]) -> list[Claim]:
    return sorted(claims, key=lambda claim: not claim.primary)


def _trivial_sides(claim: Claim) -> int:
    return [claim.bracket.lower.basis, claim.bracket.upper.basis].count(Basis.TRIVIAL)
