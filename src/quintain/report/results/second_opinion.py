"""How a second opinion is shown: the audit of any training or mechanism, beside the claim."""

from collections.abc import Iterator

from quintain.report import format as fmt
from quintain.report.blocks import Block, FigureRow, Heading, TableBlock, Text
from quintain.report.claim_rows import CONFIDENCE
from quintain.report.drawings.bar import scale_to
from quintain.report.presentation import Presentation
from quintain.report.results.audit import audit_figure, repetitions_text
from quintain.report.run_results import RunResults
from quintain.report.table import Table, cells
from quintain.results.bounds import Bound, Bracket, Consistency
from quintain.results.privacy_records import AuditRun
from quintain.results.quantity import Side
from quintain.results.second_opinion import SecondOpinionResult

_LEGEND = (("area bar-in", "canaries trained on"), ("area bar-out", "canaries left out"))

ANSWERS = {
    Consistency.CONTRADICTION: "chance explains with less than 1e-6 that the claim is true",
    Consistency.SUSPECT: "the claim was crossed, as chance does in one of twenty audits, and not each time",
    Consistency.CONSISTENT: "the claim was not crossed, which does not prove it",
}


def _summary(result: SecondOpinionResult) -> Iterator[str]:
    run = result.audit
    measured = (
        f"epsilon of {result.subject} at delta {run.lower.quantity.delta:g}: measured, at least "
        f"{fmt.epsilon(run.lower.value, Side.LOWER)} ({_counts(result, run)}, "
        f"{100 * run.confidence:g} % confidence)"
    )
    ceiling = f"an audit of this size can show at most {fmt.epsilon(run.max_auditable_epsilon)}"
    if result.claim is None:
        yield f"{measured}; nothing is claimed; {ceiling}"
    else:
        yield f"{measured}; claimed, {fmt.epsilon(result.claim)}; {ceiling}"
        answer = result.bracket.consistency
        lacking = "" if result.can_contradict else ": this audit cannot contradict this claim"
        yield f"{answer}: {ANSWERS[answer]}{lacking}"
    if run.repeated_epsilons:
        fresh = "new coins for the same canaries" if result.canary_kind == "own" else "new canaries and coins"
        yield f"repeated with {fresh}: at least {repetitions_text(run)}"
    if result.control:
        yield (
            f"control {result.control.title}: at least {fmt.epsilon(result.control.lower.value, Side.LOWER)}"
        )
    if result.of == "training":
        yield f"{result.canary_kind} canaries; {_seed(result.repeats_with_seed)}; {_cost(result)}"
    if result.fit:
        fit = result.fit
        yield (
            f"the model is right on {fmt.percent(fit.accuracy)} of {fit.num_examples:,} records that it was "
            f"trained on, of which {fmt.percent(fit.majority_accuracy)} are of one class"
        )


def _counts(result: SecondOpinionResult, run: AuditRun) -> str:
    if result.of == "mechanism":
        return f"{run.canaries:,} runs on two neighboring inputs"
    return f"{run.correct} of {run.guesses} guesses right, {fmt.count(run.canaries, 'canary', 'canaries')}"


def _seed(repeats: bool | None) -> str:
    if repeats is None:
        return "whether the training follows its seed was not tried"
    return (
        "the same seed gave the same model twice"
        if repeats
        else "the same seed gave another model: it takes random numbers from elsewhere, as it may"
    )


def _cost(result: SecondOpinionResult) -> str:
    """Say what the audit adds to the trainings."""
    spent, added = sum(result.training_seconds), sum(result.audit_seconds)
    share = f", {fmt.percent(added / spent)} of it" if spent > 0 else ""
    return f"the audit adds {added:.1f} s of processor time to {spent:.1f} s of training{share}"


def _blocks(result: SecondOpinionResult, _: RunResults) -> list[Block]:
    runs = [one for one in (result.audit, result.control) if one]
    claimed = [] if result.claim is None else [result.claim]
    scale = scale_to(*claimed, *(v for one in runs for v in (one.lower.value, one.max_auditable_epsilon)))
    brackets = [result.bracket, *(Bracket(one.lower, _unknown(one)) for one in runs[1:])]
    drawings = tuple(audit_figure(one, bracket, scale) for one, bracket in zip(runs, brackets, strict=True))
    rows = tuple(
        cells(
            one.title,
            f"{one.canaries:,}",
            f"{one.correct:,} of {one.guesses:,}" if one.guesses else fmt.NO_VALUE,
            fmt.epsilon(one.lower.at_confidence(CONFIDENCE), Side.LOWER),
            fmt.epsilon(one.max_auditable_epsilon),
        )
        for one in runs
    )
    counted = "canaries" if result.of == "training" else "runs"
    head = ("audit of", counted, "right guesses", "epsilon at least", "largest detectable epsilon")
    return [
        Heading(f"Second opinion on {result.subject}"),
        *(Text(line) for line in _summary(result)),
        FigureRow(drawings, _LEGEND if result.of == "training" else ()),
        TableBlock(Table(head, rows, caption="Second opinion")),
    ]


def _unknown(run: AuditRun) -> Bound:
    return Bound.trivial(run.lower.quantity, Side.UPPER)


PRESENTATION = Presentation(SecondOpinionResult, "Second opinion", summary=_summary, blocks=_blocks)
"""How a second opinion is shown."""
