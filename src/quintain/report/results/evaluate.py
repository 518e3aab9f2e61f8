"""Both bounds of one model: what is certified, and what attacks did to the rest."""

from collections.abc import Iterator

from quintain.report import format as fmt
from quintain.report.presentation import Presentation
from quintain.report.results.attack import attacked_model_lines
from quintain.results.robustness_records import CertifiedModel, EvaluateResult


def certified_model_lines(one: CertifiedModel) -> Iterator[str]:
    """Yield how many examples are certified at each size, by what and in which time."""
    counts = ", ".join(
        f"{one.threat_type}:{fmt.eps_text(eps)} "
        f"{one.examples.certified_counts(eps, one.num_classes).num_correct:,}"
        for eps in one.requested_eps
    )
    examples = fmt.count(len(one.examples.ids), "example")
    yield f"certified by {one.certifier}, of {examples}: {counts}; {fmt.seconds(one.seconds)}"


def _summary(result: EvaluateResult) -> Iterator[str]:
    if result.certified is not None:
        yield from certified_model_lines(result.certified)
        yield "attacked at each size: the examples that are not certified there"
    yield from attacked_model_lines(result.attacked)


PRESENTATION = Presentation(EvaluateResult, "Evaluation", summary=_summary)
