"""Curves of accuracy by the size of the change, of attacked and of certified models."""

from collections.abc import Sequence

from quintain.core.threat_specs import threat_type
from quintain.report import format as fmt
from quintain.report.blocks import Figure
from quintain.report.drawings.accuracy_charts import accuracy_band
from quintain.report.run_results import RunResults
from quintain.results.per_example import PerExample
from quintain.results.quantity import Basis
from quintain.results.robustness_records import AttackedModel, CertifiedModel

LEGEND = (
    ("line broken", "accuracy under attack"),
    ("line proved", "certified accuracy"),
    ("area open", "gap between the bounds"),
    ("line constant", "majority class"),
)

_POINTS = 65
"""Number of eps at which a curve is drawn where the record names none."""


def certified_curves(run: RunResults, one: CertifiedModel) -> Figure:
    """Draw both bounds of a certified model."""
    sizes = sorted({0.0, *one.curve_eps, *one.requested_eps})
    proved = [one.examples.certified_counts(size, one.num_classes).accuracy for size in sizes]
    unbroken = [one.examples.unbroken_counts(size, one.num_classes).accuracy for size in sizes]
    proved[0] = min(
        proved[0], unbroken[0]
    )  # without a change there is nothing to certify: a prediction is correct or it is not
    return _drawing(
        run,
        one.model,
        one.threat_type,
        sizes,
        proved,
        unbroken,
        sorted({0.0, *one.requested_eps}),
        one.examples,
        one.num_classes,
    )


def attacked_curves(run: RunResults, one: AttackedModel) -> Figure:
    """Draw the accuracy of an attacked model, above what the run's claims certify of it."""
    marked = sorted({0.0, *(row.eps for row in one.rows)})
    classes = max((len(row.unbroken_counts.total) for row in one.rows), default=max(one.examples.labels) + 1)
    top = marked[-1] or 1.0
    sizes = sorted({*marked, *(top * step / (_POINTS - 1) for step in range(_POINTS))})
    unbroken = [one.examples.unbroken_counts(size, classes).accuracy for size in sizes]
    return _drawing(
        run,
        one.model,
        one.threat_type,
        sizes,
        _certified_curve(run, one, sizes),
        unbroken,
        marked,
        one.examples,
        classes,
    )


def _certified_curve(run: RunResults, one: AttackedModel, sizes: Sequence[float]) -> list[float] | None:
    """Return the certified accuracy of a model at each eps by the run's claims; None without any.

    What is certified at one eps is certified at every smaller one.
    """
    bounds = [
        claim.bracket.lower
        for claim in run.claims
        if claim.model == one.model and threat_type(claim.bracket.quantity.threat) == one.threat_type
    ]
    proofs = [
        (fmt.eps_of(bound.quantity.threat), bound.value)
        for bound in bounds
        if bound.basis is not Basis.TRIVIAL
    ]
    return (
        [max((value for at, value in proofs if at >= size), default=0.0) for size in sizes]
        if proofs
        else None
    )


def _drawing(
    run: RunResults,
    model: str,
    kind: str,
    sizes: Sequence[float],
    proved: Sequence[float] | None,
    unbroken: Sequence[float],
    marked: Sequence[float],
    examples: PerExample,
    classes: int,
) -> Figure:
    at = dict(zip(sizes, zip(proved or [0.0] * len(sizes), unbroken, strict=True), strict=True))
    said = "; ".join(
        f"{fmt.eps_text(size)}: {fmt.percent(at[size][0])} certified, {fmt.percent(at[size][1])} under attack"
        for size in marked
    )
    svg = accuracy_band(
        sizes,
        proved,
        unbroken,
        marked=marked,
        baseline=examples.unbroken_counts(0.0, classes).majority_accuracy,
        title=f"size of the change, {kind.capitalize()}",
        alt_text=f"{run.title(model)}, accuracy by size of the change: {said}",
    )
    return Figure(run.title(model), svg)
