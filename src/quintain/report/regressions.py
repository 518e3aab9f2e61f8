"""What got worse from one run to the next, claim by claim: what fails a build."""

import math
from collections.abc import Iterator, Sequence

from quintain.core.errors import SettingError
from quintain.report import format as fmt
from quintain.report.attack_sets import attack_names, is_replay, missing_attacks
from quintain.report.changes import difference
from quintain.report.run_results import RunResults
from quintain.results.bounds import Bound, Consistency
from quintain.results.comparison_records import Regression
from quintain.results.literals import CLEAN_ERRORS_ONLY
from quintain.results.quantity import Basis, Metric
from quintain.results.records import Claim, Record
from quintain.results.robustness_records import AttackedModel
from quintain.results.under_attack import HIGH_TRUST, attacks_behind, trust_in

DEFAULT_TOLERANCE = 0.01
"""By how much a bound may get worse where nothing is said: one point of accuracy, or 0.01 of epsilon."""

_ROUNDING = 1e-9
"""A change that is larger than the tolerance by this alone is not larger."""


def regressions(
    before: Sequence[Record], after: Sequence[Record], tolerance: float = DEFAULT_TOLERANCE
) -> tuple[Regression, ...]:
    """Return every claim of a run that is worse in a later one by more than a tolerance.

    Worse are a certified bound, an attacked bound or a clean accuracy that fell, and an accounted epsilon
    that rose, each as counted on the tested examples. A claim that the later run does not have, that is on
    other data or another threat, or whose bounds contradict each other there, and a side that was certified,
    attacked or accounted before and is not now, have regressed, too: nothing shows that they did not. An
    upper bound that rests on less than before shows nothing either: of attacks that broke off, of examples
    that were made on another model, without an attack that the earlier run had and nothing stronger in its
    place, or with fewer queries; but where as much is certified as was left by the attacks before, no attack
    is missed.

    Args:
        before, after: The records of the two runs.
        tolerance: By how much a bound may get worse: a fraction for accuracies, and as it is for epsilon.

    Raises:
        SettingError: If the tolerance is no number from 0 up or allows all accuracies to be lost, or the
            earlier run has no claim.
    """
    if not 0 <= tolerance < math.inf:
        raise SettingError(f"--tolerance {tolerance:g}; expected a number from 0 up, such as 0.01")
    old, new = ({claim.name: claim for claim in RunResults.of(run).claims} for run in (before, after))
    metrics = {claim.bracket.quantity.metric for claim in old.values()}
    if tolerance >= 1 and metrics - {Metric.EPSILON}:
        raise SettingError(
            f"--tolerance {tolerance:g} allows every accuracy to fall to 0; expected a fraction below 1: a "
            "point of accuracy is 0.01"
        )
    if not old:
        raise SettingError(
            "the earlier run claims nothing, so that nothing can regress; compare with a run that does, such "
            "as one of quintain evaluate"
        )
    runs = RunResults.of(before), RunResults.of(after)
    return tuple(
        Regression(name, reason)
        for name, claim in old.items()
        for reason in _reasons(claim, new.get(name), runs, tolerance)
    )


def _reasons(
    before: Claim, after: Claim | None, runs: tuple[RunResults, RunResults], tolerance: float
) -> Iterator[str]:
    if after is None:
        yield "the later run does not have this claim"
        return
    different = difference(before, after)
    if different:
        yield f"cannot be compared: {different}"
        return
    if after.bracket.consistency is Consistency.CONTRADICTION:
        yield "its two bounds contradict each other"
        return
    metric = after.bracket.quantity.metric
    was, now = before.bracket, after.bracket
    if metric is Metric.EPSILON:
        yield from _worse(metric, "accounted epsilon", was.upper, now.upper, tolerance)
    elif metric.is_leak:
        yield from _worse(metric, "rate that attacks reach", was.lower, now.lower, tolerance)
        yield from _worse(metric, "rate that is allowed", was.upper, now.upper, tolerance)
    elif metric is Metric.CLEAN_ACCURACY:
        yield from _worse(metric, "accuracy", was.lower, now.lower, tolerance)
    else:
        yield from _worse(metric, "certified accuracy", was.lower, now.lower, tolerance)
        fell = list(_worse(metric, "accuracy under attack", was.upper, now.upper, tolerance))
        proved = now.lower.basis is not Basis.TRIVIAL
        if proved and now.lower.value >= was.upper.value - tolerance - _ROUNDING:
            return
        attacked = [
            attacks_behind(one, [record.result for record in run.records])
            for one, run in zip((before, after), runs, strict=True)
        ]
        yield from fell or _weaker(was.upper, now.upper, *attacked)


def _weaker(
    before: Bound, after: Bound, old: AttackedModel | None, new: AttackedModel | None
) -> Iterator[str]:
    """Say why an upper bound cannot show what an earlier one would, though it did not fall."""
    if not _is_known(before):
        return
    was = fmt.metric_value(Metric.ROBUST_ACCURACY, before.value, before.side)
    if new and new.stop_reason:
        yield (
            f"the accuracy under attack is not known any more, since the later run broke off "
            f"({new.stop_reason}); it was {was}"
        )
    elif is_replay(after) and not is_replay(before):
        yield (
            "the accuracy under attack is not known any more: the later run tries only what was made on "
            f"another model; it was {was}"
        )
    elif missing := missing_attacks(before, after):
        yield (
            f"the accuracy under attack cannot be compared: the earlier run attacked by {_all(missing)}, the "
            f"later one by {_all(attack_names(after))}; use the same attacks or stronger ones"
        )
    elif new and new.max_queries and not (old and old.max_queries and old.max_queries <= new.max_queries):
        limit = f"--max-queries {old.max_queries}" if old and old.max_queries else "no limit of queries"
        yield (
            f"the accuracy under attack cannot be compared: the earlier run had {limit}, the later one "
            f"--max-queries {new.max_queries}; use as many queries or more"
        )
    elif trust_in(old) == HIGH_TRUST != trust_in(new):
        yield (
            "the accuracy under attack is not known any more: trust in the attacks was high, and is "
            f"{trust_in(new)}; it was {was}"
        )


def _all(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _worse(metric: Metric, what: str, before: Bound, after: Bound, tolerance: float) -> Iterator[str]:
    """Say whether one side of a claim got worse; nothing where it was not known before."""
    if not _is_known(before):
        return
    if not _is_known(after):
        was = fmt.metric_value(metric, before.value, before.side)
        yield f"the {what} is not known any more; it was {was}"
        return
    rises = metric.less_is_better
    loss = (after.value - before.value) * (1 if rises else -1)
    if loss > tolerance + _ROUNDING:  # infinity less infinity is NaN, and no loss
        amount = fmt.number(loss) if metric is Metric.EPSILON else fmt.points(loss).lstrip("+")
        was, now = (fmt.metric_value(metric, bound.value, bound.side) for bound in (before, after))
        yield f"the {what} {'rose' if rises else 'fell'} by {amount}, from {was} to {now}"


def _is_known(bound: Bound) -> bool:
    """Whether something was certified, attacked, counted or accounted, and not clean errors alone."""
    return bound.basis is not Basis.TRIVIAL and bound.method != CLEAN_ERRORS_ONLY
