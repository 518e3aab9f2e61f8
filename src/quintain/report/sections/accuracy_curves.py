"""Curves of accuracy by eps: accuracy under attack above certified accuracy."""

from collections.abc import Sequence

from quintain.core.threat_specs import threat_type
from quintain.report import format as fmt
from quintain.report.blocks import Figure
from quintain.report.drawings.accuracy_charts import accuracy_band
from quintain.report.run_results import RunResults
from quintain.results.quantity import Basis
from quintain.results.robustness_records import AttackedModel, CertifiedModel

LEGEND = (
    ("line broken", "accuracy under attack"),
    ("line proved", "certified accuracy"),
    ("area open", "gap between the bounds"),
    ("line constant", "majority class"),
)

_POINTS = 65
"""Number of eps at which a curve is drawn if the record does not list them."""


def certified_curves(run: RunResults, proved: CertifiedModel) -> Figure:
    """Draw certified accuracy and accuracy under attack of a certified model."""
    sizes = sorted({0.0, *proved.curve_eps, *proved.requested_eps})
    return _draw_curves(
        run,
        proved.model,
        proved.threat_type,
        sizes,
        certified=[proved.examples.certified_counts(size, proved.num_classes).accuracy for size in sizes],
        unbroken=[proved.examples.unbroken_counts(size, proved.num_classes).accuracy for size in sizes],
        marked=sorted({0.0, *proved.requested_eps}),
        baseline=proved.examples.unbroken_counts(0.0, proved.num_classes).majority_accuracy,
    )


def attacked_curves(run: RunResults, attacked: AttackedModel) -> Figure:
    """Draw the accuracy of a model under attack, above the certified accuracy that the run's claims state."""
    marked = sorted({0.0, *(row.eps for row in attacked.rows)})
    top = marked[-1] or 1.0
    sizes = sorted({*marked, *(top * step / (_POINTS - 1) for step in range(_POINTS))})
    return _draw_curves(
        run,
        attacked.model,
        attacked.threat_type,
        sizes,
        certified=_claimed_accuracies(run, attacked, sizes),
        unbroken=[attacked.unbroken_counts(size).accuracy for size in sizes],
        marked=marked,
        baseline=attacked.unbroken_counts(0.0).majority_accuracy,
    )


def _claimed_accuracies(
    run: RunResults, attacked: AttackedModel, sizes: Sequence[float]
) -> list[float] | None:
    """Return the certified accuracy of a model at each eps by the run's claims; None if none certifies it.

    What is certified at one eps is certified at every smaller one.
    """
    bounds = [
        claim.bracket.lower
        for claim in run.claims
        if claim.model == attacked.model
        and threat_type(claim.bracket.quantity.threat) == attacked.threat_type
    ]
    proofs = [
        (fmt.eps_of(bound.quantity.threat), bound.value)
        for bound in bounds
        if bound.basis is not Basis.TRIVIAL
    ]
    return (
        [max((value for eps, value in proofs if eps >= size), default=0.0) for size in sizes]
        if proofs
        else None
    )


def _draw_curves(
    run: RunResults,
    model: str,
    kind: str,
    sizes: Sequence[float],
    *,
    certified: Sequence[float] | None,
    unbroken: Sequence[float],
    marked: Sequence[float],
    baseline: float,
) -> Figure:
    """Draw two accuracies at each of ``sizes``; those at the ``marked`` ones are also read out as text."""
    accuracies = dict(zip(sizes, zip(certified or [0.0] * len(sizes), unbroken, strict=True), strict=True))
    read_out = "; ".join(
        f"{fmt.eps_text(size)}: {fmt.percent(accuracies[size][0])} certified, "
        f"{fmt.percent(accuracies[size][1])} under attack"
        for size in marked
    )
    svg = accuracy_band(
        sizes,
        certified,
        unbroken,
        marked=marked,
        baseline=baseline,
        title=f"size of the change, {kind.capitalize()}",
        alt_text=f"{run.title(model)}, accuracy by size of the change: {read_out}",
    )
    return Figure(run.title(model), svg)
