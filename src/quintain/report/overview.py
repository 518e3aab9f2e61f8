"""The top of the page: what was done, requirements, a card for each key claim, and a table of the models."""

from dataclasses import dataclass

from quintain.report import claim_rows
from quintain.report import format as fmt
from quintain.report.claim_cards import ClaimCard, card
from quintain.report.key_claims import key_claims
from quintain.report.model_table import model_table
from quintain.report.registry import presentation_of
from quintain.report.run_results import RunResults
from quintain.report.table import Table
from quintain.results.bounds import Consistency
from quintain.results.evidence import CountEvidence
from quintain.results.records import DrillResult
from quintain.results.verdict import Decision

_TONES = {Decision.PASS: "good", Decision.FAIL: "bad", Decision.UNDECIDED: "open"}


@dataclass(frozen=True, slots=True)
class RequirementLine:
    """A requirement and its decision, as a line of the page."""

    text: str
    label: str
    tone: str
    reason: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The top of the page.

    Args:
        title: What was done on which data.
        facts: Model, data, seed, date, duration, threads, version.
        verdicts: Counted.
        alarms: A sentence for each claim whose sides contradict each other, and for each mechanism that is
            not what was claimed.
        requirements: The requirements.
        cards: The key claims.
        cost: Accuracy and epsilon of each model, None where no model's accuracy is known.
    """

    title: str
    facts: tuple[str, ...]
    verdicts: claim_rows.VerdictCounts
    alarms: tuple[str, ...]
    requirements: tuple[RequirementLine, ...]
    cards: tuple[ClaimCard, ...]
    cost: Table | None


def overview(run: RunResults) -> Overview:
    """Return the top of the page of a run."""
    contradictions = tuple(
        f"{claim_rows.about(claim)}: {claim_rows.bounds_text(claim.bracket)}."
        for claim, status in run.inconsistencies
        if status is Consistency.CONTRADICTION
    )
    failures = tuple(
        f"{test.name} is not what was claimed: {test.message}. The accounted epsilon is void."
        for test in run.failed_mechanism_tests
    )
    requirements = tuple(
        RequirementLine(
            one.requirement, one.verdict.decision.value, _TONES[one.verdict.decision], one.verdict.reason
        )
        for one in run.requirement_results
    )
    cards = tuple(card(run, claim) for claim in key_claims(run))
    return Overview(
        title=_title(run),
        facts=_facts(run),
        verdicts=claim_rows.count_verdicts(run.records),
        alarms=contradictions + failures,
        requirements=requirements,
        cards=cards,
        cost=model_table(run),
    )


def _title(run: RunResults) -> str:
    kinds = [record.result.kind for record in run.records]
    data = run.data.name
    what = presentation_of(run.records[0].result).title if len(kinds) == 1 else "Drill"
    where = f" on {data}" if data else ""
    return what + where + ("" if len(kinds) == 1 or "drill" in kinds else ", unfinished")


def _facts(run: RunResults) -> tuple[str, ...]:
    first, last = run.records[0].provenance, run.records[-1].provenance
    data = run.data
    steps = [step.seconds for result in run.results_of(DrillResult) for step in result.steps]
    spent = sum(steps) if steps else sum(record.provenance.seconds for record in run.records)
    delivered = dict.fromkeys(run.title(claim.model) for claim in run.claims if claim.primary)
    trials = [
        e.trials
        for c in run.claims
        for e in (c.bracket.lower.evidence, c.bracket.upper.evidence)
        if isinstance(e, CountEvidence)
    ]
    tested = f", {fmt.count(max(trials), 'example')} tested" if trials else ""
    facts = (
        f"{'model' if len(delivered) == 1 else 'models'}: {' · '.join(delivered)}" if delivered else "",
        f"data: {data.name}{f' ({fmt.short_hash(data.hash)})' if data.hash else ''}{tested}"
        if data.name
        else "",
        f"seed {first.seed}",
        fmt.date(first.started),
        f"{fmt.seconds(spent)} on {fmt.count(first.threads, 'thread')}, {first.device}",
        f"{fmt.count(len(run.not_done), 'part')} not done" if run.not_done else "",
        "cut for time" if run.cuts else "",
        "short form (--quick)" if any(result.quick for result in run.results_of(DrillResult)) else "",
        *(f"Quintain {one.version}" for one in last.versions if one.package == "quintain"),
    )
    return tuple(fact for fact in facts if fact)
