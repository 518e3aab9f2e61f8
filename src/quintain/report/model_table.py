"""What each model is worth: clean accuracy, accuracy bounds at one eps, and epsilon, in one table."""

from quintain.report import format as fmt
from quintain.report.key_claims import primary_threat
from quintain.report.run_results import RunResults
from quintain.report.table import Cell, Table
from quintain.results.bounds import Bracket, Consistency
from quintain.results.privacy_records import FederateResult
from quintain.results.quantity import Basis, Metric


def model_table(run: RunResults) -> Table | None:
    """Return clean accuracy, accuracy bounds at one eps and epsilon of each model.

    The last row is a classifier that always predicts the majority class.
    """
    clean = {training.model.name: training.clean_counts for training in run.trainings}
    clean |= {
        result.model.name: result.rounds[-1].global_counts
        for result in run.results_of(FederateResult)
        if result.rounds
    }
    if not clean:
        return None
    threat = primary_threat(run)
    robust = {
        claim.model: claim.bracket
        for claim in run.claims
        if threat and claim.bracket.quantity.threat == threat
    }
    spent = {
        claim.model: claim.bracket.upper.value
        for claim in run.claims
        if claim.bracket.quantity.metric is Metric.EPSILON
    }
    majority = next(iter(clean.values())).majority_accuracy
    rows = []
    for name, counts in clean.items():
        row = [
            Cell(run.title(name)),
            Cell(fmt.percent(counts.accuracy), "low" if counts.accuracy <= majority else ""),
        ]
        if threat:
            row += _both(robust.get(name), majority)
        rows.append((*row, Cell(fmt.epsilon(spent[name]) if name in spent else "∞ (no DP)")))
    still = [
        Cell("majority class", "soft"),
        *([Cell(fmt.percent(majority), "soft")] * (3 if threat else 1)),
        Cell("0", "soft"),
    ]
    change = fmt.threat_text(threat)
    bounds = (f"attacked {change}", f"certified {change}") if threat else ()
    head = ("model", "clean", *bounds, "epsilon")
    return Table(head, (*rows, tuple(still)))


def _both(bracket: Bracket | None, majority: float) -> list[Cell]:
    if bracket is None:
        return [Cell(fmt.NO_VALUE), Cell(fmt.NO_VALUE)]
    upper, lower = bracket.upper, bracket.lower
    attacked = fmt.NO_VALUE if upper.basis is Basis.TRIVIAL else fmt.percent(upper.value)
    clash = bracket.consistency is not Consistency.CONSISTENT
    proved = fmt.NO_VALUE if lower.basis is Basis.TRIVIAL else fmt.percent(lower.value)
    return [
        Cell(attacked, "bad" if clash else "low" if upper.value <= majority else ""),
        Cell(proved, "bad" if clash else ""),
    ]
