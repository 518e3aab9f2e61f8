"""Two runs, claim by claim: what moved, and whether it may be compared at all."""

from collections.abc import Sequence

from quintain.report import format as fmt
from quintain.report.claim_rows import CONFIDENCE
from quintain.report.run_results import RunResults
from quintain.results.bounds import Bracket
from quintain.results.comparison_records import ChangeKind, ClaimChange
from quintain.results.quantity import Metric, Quantity
from quintain.results.records import Claim, Record


def compare(a: Sequence[Record], b: Sequence[Record]) -> tuple[ClaimChange, ...]:
    """Run ``b`` against run ``a``, claim by claim, matched by name.

    A change is an improvement only if the worst that is known of the new value beats the best that is known
    of the old one, at 95 % where a side rests on draws; overlapping brackets leave it undecided. Claims on
    other data or another threat are named, never compared; but epsilon is that of the mechanism, and whether
    it hid the same records, or attackers sought the same, cannot be told from results, which do not give them
    away.
    """
    old = {claim.name: claim for claim in RunResults.of(a).claims}
    new = {claim.name: claim for claim in RunResults.of(b).claims}
    return tuple(_change(old.get(name), new.get(name)) for name in dict.fromkeys((*old, *new)))


def _change(before: Claim | None, after: Claim | None) -> ClaimChange:
    claim = after or before
    if claim is None:
        raise AssertionError("a name comes from one of the runs")
    outcome, why = _outcome(before, after)
    kind = claim.bracket.quantity.metric
    was, now = (_sides(one.bracket) if one else None for one in (before, after))
    return ClaimChange(
        name=claim.name, title=claim.title, metric=kind, before=was, after=now, change=outcome, reason=why
    )


def _outcome(before: Claim | None, after: Claim | None) -> tuple[ChangeKind, str]:
    if before is None:
        return "added", "only the second run claims it"
    if after is None:
        return "removed", "only the first run claims it"
    different = difference(before, after)
    if different:
        return "incomparable", different
    return _compare_intervals(_sides(before.bracket), _sides(after.bracket), after.bracket.quantity.metric)


def difference(before: Claim, after: Claim) -> str:
    """Return why two claims cannot be compared, such as other data; empty where they can."""
    metrics = (before.bracket.quantity.metric, after.bracket.quantity.metric)
    private = all(one is Metric.EPSILON or one.is_leak for one in metrics)
    old, new = (_must_agree(claim.bracket.quantity) for claim in (before, after))
    differing = [word for word in old if old[word] != new[word] and not (private and word == "data")]
    if not differing:
        return ""
    word = differing[0]
    was, now = (
        fmt.short_hash(str(one[word])) if word == "data" else one[word] or "none" for one in (old, new)
    )
    return f"the {word} differs: {was} before, {now} after"


def _must_agree(quantity: Quantity) -> dict[str, object]:
    """What two claims must share; the model is what changes.

    Records that are kept private have another name in each run.
    """
    return {
        "kind": quantity.metric,
        "data": quantity.data_hash,
        "threat": quantity.threat,
        "delta": quantity.delta,
        "adjacency": quantity.adjacency,
        "unit": quantity.privacy_unit,
        "released": quantity.released,
        "false-positive rate": quantity.fpr,
    }


def _compare_intervals(
    before: tuple[float, float], after: tuple[float, float], kind: Metric
) -> tuple[ChangeKind, str]:
    if before == after:
        return "same", "both sides are where they were"
    less_is_better = kind.less_is_better
    if after[0] > before[1]:
        return ("worse" if less_is_better else "better"), "all of the new bracket lies above the old one"
    if after[1] < before[0]:
        return ("better" if less_is_better else "worse"), "all of the new bracket lies below the old one"
    return "undecided", "the two brackets overlap"


def _sides(bracket: Bracket) -> tuple[float, float]:
    return bracket.confidence_interval(CONFIDENCE, population=False)
