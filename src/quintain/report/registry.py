"""Find the presentation of a result by its type."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from quintain.report.blocks import Block
from quintain.report.claim_rows import accuracy_claim_texts
from quintain.report.presentation import Presentation
from quintain.report.results import (
    attack,
    audit,
    certify,
    check,
    compare,
    drill,
    evaluate,
    federate,
    harden,
    leak,
    plan,
    privatize,
    replay,
    second_opinion,
    skipped,
    train,
)
from quintain.report.run_results import RunResults
from quintain.results.quantity import Metric
from quintain.results.records import Record

R = TypeVar("R")

PRESENTATIONS: Mapping[type, Presentation[Any]] = {
    one.result_type: one
    for one in (
        check.PRESENTATION,
        train.PRESENTATION,
        attack.PRESENTATION,
        replay.PRESENTATION,
        harden.PRESENTATION,
        certify.PRESENTATION,
        evaluate.PRESENTATION,
        privatize.PRESENTATION,
        plan.PRESENTATION,
        audit.PRESENTATION,
        second_opinion.PRESENTATION,
        leak.PRESENTATION,
        federate.PRESENTATION,
        skipped.PRESENTATION,
        drill.PRESENTATION,
        compare.PRESENTATION,
    )
}
"""Every presentation, by the type of its results."""


def presentation_of(result: R) -> Presentation[R]:
    """Return how a result is shown.

    Raises:
        NotImplementedError: If its type has no presentation.
    """
    found = PRESENTATIONS.get(type(result))
    if found is None:
        raise NotImplementedError(
            f"no presentation of {type(result).__name__}; add one to quintain.report.results and to "
            "PRESENTATIONS"
        )
    return found


def summary_lines(record: Record) -> Iterator[str]:
    """Yield a few lines on the result of a step, each claim on robust accuracy as a sentence, and what was
    not done.
    """
    yield from presentation_of(record.result).summary(record.result)
    yield from accuracy_claim_texts(
        claim for claim in record.claims if claim.bracket.quantity.metric is Metric.ROBUST_ACCURACY
    )
    yield from map(str, record.not_done)


def blocks_of(run: RunResults, *types: type[Any]) -> list[Block]:
    """Return what the page shows of each result of these types, type by type."""
    return [
        block
        for one in types
        for result in run.results_of(one)
        for block in presentation_of(result).blocks(result, run)
    ]
