"""A run as a list of cases, each with one outcome: what every format for CI systems is written from."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from quintain.report import format as fmt
from quintain.report.claim_rows import CONFIDENCE, MECHANISM_MISMATCH, about, bounds_text
from quintain.report.results.compare import sides_text
from quintain.report.run_results import RunResults
from quintain.results.bounds import Consistency
from quintain.results.comparison_records import CompareResult
from quintain.results.quantity import Metric
from quintain.results.records import Claim, Record, RequirementResult
from quintain.results.requirements import Requirement
from quintain.results.verdict import Decision, RunVerdict, Verdict

CONTRADICTION, MISMATCH, REGRESSION = "contradiction", "mechanism_mismatch", "regression"
"""Rules beside those of the metrics: two bounds that cross, a mechanism that is not what was claimed, and a
claim that is worse than in an earlier run.
"""

FINDING = "finding"
"""The rule of a run that did not pass for what stands in no requirement, claim or test: an alarm that came
before there was a record, the answer on a property, scores that contradict a claim.
"""

BROKEN_OFF = ("EXECUTION", "USAGE", "INTERRUPTED")
"""Outcomes of a run that did not come to its end."""

_NOT_ENDED = "not decided, because the run did not come to its end"


@dataclass(frozen=True, slots=True, kw_only=True)
class CIRun:
    """A run that has ended, as it is told to CI systems.

    Args:
        verb: Name of its command, such as ``attack``.
        command: Its command line.
        verdict: How it ended.
        records: What it left behind, in the order of its steps; nothing where it failed before.
        requirements: Every requirement that was stated: one that no record decides is undecided where the
            run did not come to its end, or left no record.
        not_checked: Requirements that it does not measure.
        folder: The run folder, empty where there is none.
    """

    verb: str
    command: str
    verdict: RunVerdict
    records: tuple[Record, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    not_checked: tuple[str, ...] = ()
    folder: str = ""

    @property
    def name(self) -> str:
        """The run as people call it: ``quintain attack``."""
        return f"quintain {self.verb}"

    @property
    def broke_off(self) -> bool:
        """Whether the run did not come to its end."""
        return self.verdict.outcome in BROKEN_OFF

    @property
    def seconds(self) -> float:
        """Wall time of all its records together."""
        return sum(record.provenance.seconds for record in self.records)


class Status(StrEnum):
    """The one outcome of a case."""

    PASS = "PASS"
    FAIL = "FAIL"
    UNDECIDED = "UNDECIDED"
    ERROR = "ERROR"


_FOUND = {"FAILED": Status.FAIL, "UNDECIDED": Status.UNDECIDED, "ALARM": Status.ERROR}
"""By the outcome of a run that came to its end, the status of the case that tells what it found."""


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that was judged.

    Args:
        group: Where it belongs: ``gate.MODEL``, ``regression``, ``alarm`` or ``run``.
        name: What was judged, the same in every run: a requirement as it is written, the name of a claim.
        status: Its outcome.
        kind: The outcome in one word: that of ``status``, or which alarm or failure it is.
        message: One sentence with the numbers.
        details: Further lines: the bracket, the record, the command.
        rule: What was violated: a metric, one of the two alarms, or that no claim gets worse; ``FINDING`` for
            a run that did not pass for another reason, else empty for the run itself.
        path, line: The file that states a requirement, and its line there; empty and 0 where none does.
        is_tolerated: Whether it is undecided and the run passes nevertheless.
    """

    group: str
    name: str
    status: Status
    kind: str
    message: str
    details: tuple[str, ...] = ()
    rule: str = ""
    path: str = ""
    line: int = 0
    is_tolerated: bool = False


def cases(run: CIRun) -> tuple[Case, ...]:
    """Return the cases of a run: the run itself, each requirement, each claim that an earlier run has, each
    alarm; never none at all.
    """
    results = RunResults.of(run.records)
    found = (
        *(_requirement_case(run, results, one) for one in results.requirement_results),
        *_regression_cases(run, results),
        *_alarm_cases(run, results),
    )
    is_told = any(case.status is _FOUND.get(run.verdict.outcome) for case in found)
    return (_run_case(run, is_told=is_told), *found, *_open_cases(run, results))


def _run_case(run: CIRun, *, is_told: bool) -> Case:
    """Whether the run came to its end, and what it found where no other case tells that.

    Args:
        run: The run.
        is_told: Whether another case says why it did not pass.
    """
    verdict = run.verdict
    left = dict.fromkeys(run.not_checked)
    details = (
        f"outcome: {verdict.outcome}, exit code {verdict.exit_code}",
        *(f"not checked, because this run does not measure it: {text}" for text in left),
        *_origin(run),
    )
    status, label, rule = Status.PASS, "PASS", ""
    if run.broke_off:
        status, label = Status.ERROR, verdict.outcome.capitalize()
    elif verdict.exit_code and not is_told:
        status, label, rule = _FOUND[verdict.outcome], verdict.outcome.capitalize(), FINDING
    return Case("run", run.name, status, label, verdict.reason, details=details, rule=rule)


def _open_cases(run: CIRun, results: RunResults) -> Iterator[Case]:
    """Each requirement that a run without a record or without its end left open."""
    known = {one.requirement for one in results.requirement_results}
    if run.broke_off or (run.verdict.exit_code and not run.records):
        reason = f"{_NOT_ENDED}: {run.verdict.reason}"
        for stated in run.requirements:
            if stated.text not in known:
                verdict = Verdict(Decision.UNDECIDED, reason)
                yield _requirement_case(
                    run, results, RequirementResult(stated.text, verdict, "", stated.path, stated.line)
                )


def _requirement_case(run: CIRun, results: RunResults, one: RequirementResult) -> Case:
    # It is not parsed: a threat of another package need not be installed where a record is read.
    metric, named = re.match(r"\w+", one.requirement), re.search(r"\bmodel=([^,)\s]+)", one.requirement)
    claim = next((claim for claim in results.claims if claim.name == one.claim_name), None)
    model = named[1] if named else claim.model if claim else _primary_model(results)
    decision = one.verdict.decision
    return Case(
        group=f"gate.{model.replace('.', '_')}" if model else "gate",
        name=one.requirement,
        status=Status(decision.value),
        kind=decision.value,
        message=one.verdict.reason,
        details=(*_bracket_lines(claim), *_origin(run)),
        rule=metric[0] if metric else "",
        path=one.path,
        line=one.line,
        is_tolerated=decision is Decision.UNDECIDED and run.verdict.undecided == "warn" and not run.broke_off,
    )


def _regression_cases(run: CIRun, results: RunResults) -> Iterator[Case]:
    """Each claim of the earlier run, where the later one was to be no worse."""
    for result in results.results_of(CompareResult):
        for change in result.changes:
            if result.tolerance is None or change.before is None:
                continue
            before, after = sides_text(change)
            reasons = [one.reason for one in result.regressions if one.name == change.name]
            message = f"not worse by more than {result.tolerance:g}"
            status = Status.FAIL if reasons else Status.PASS
            if run.broke_off and not reasons:
                status, message = Status.UNDECIDED, f"{_NOT_ENDED}: {run.verdict.reason}"
            yield Case(
                group="regression",
                name=change.name,
                status=status,
                kind=status.value,
                message="; ".join(reasons) or message,
                details=(f"before: {before}, after: {after} ({change.change})", *_origin(run)),
                rule=REGRESSION,
            )


def _alarm_cases(run: CIRun, results: RunResults) -> Iterator[Case]:
    """Claims whose two bounds cross, and mechanisms that are not what was claimed; nothing else."""
    for claim, consistency in results.inconsistencies:
        is_certain = consistency is Consistency.CONTRADICTION
        message = (
            "the two bounds contradict each other, so that some code is wrong"
            if is_certain
            else "the two bounds cross within statistical error: a rerun with another seed has to decide"
        )
        yield Case(
            group="alarm",
            name=claim.name,
            status=Status.ERROR if is_certain else Status.UNDECIDED,
            kind=consistency.value.capitalize(),
            message=f"{message}: {bounds_text(claim.bracket)}",
            details=(*_bracket_lines(claim), *_origin(run)),
            rule=CONTRADICTION,
        )
    for test in results.failed_mechanism_tests:
        yield Case(
            group="alarm",
            name=test.name,
            status=Status.ERROR,
            kind=MECHANISM_MISMATCH.title().replace(" ", ""),
            message=f"{test.message}; the accounted epsilon is void",
            details=_origin(run),
            rule=MISMATCH,
        )


def _bracket_lines(claim: Claim | None) -> tuple[str, ...]:
    """Both bounds and the interval of a claim; nothing where no claim is about it."""
    if claim is None:
        return ()
    low, high = claim.bracket.confidence_interval(CONFIDENCE)
    interval = fmt.interval(claim.bracket.quantity.metric, low, high)
    return (f"{about(claim)}: {bounds_text(claim.bracket)}", f"95 % interval: {interval}")


def _origin(run: CIRun) -> tuple[str, ...]:
    """How the run can be made and read again."""
    return (*((f"run folder: {run.folder}",) if run.folder else ()), f"command: {run.command}")


def _primary_model(results: RunResults) -> str:
    """The model that a requirement means which names none; empty where the run has several, or none."""
    models = {
        claim.model
        for claim in results.claims
        if claim.primary and claim.bracket.quantity.metric is not Metric.EPSILON
    }
    return models.pop() if len(models) == 1 else ""
