"""What each verb leaves behind: one typed record a step, read by ``report``, ``compare`` and later steps."""

from dataclasses import dataclass
from typing import Literal

from quintain.core.notebook import html_repr
from quintain.results.bounds import Bracket
from quintain.results.class_counts import ClassCounts
from quintain.results.comparison_records import CompareResult
from quintain.results.privacy_records import (
    AuditResult,
    FederateResult,
    LeakResult,
    PlanResult,
    PrivatizeResult,
)
from quintain.results.robustness_records import (
    AttackResult,
    CertifyResult,
    CheckResult,
    EvaluateResult,
    HardenResult,
    ReplayResult,
    TrainResult,
)
from quintain.results.second_opinion import SecondOpinionResult
from quintain.results.verdict import RunVerdict, Verdict

SCHEMA = 2


@dataclass(frozen=True, slots=True)
class NamedHash:
    """A data set or a model, by its name and what it holds.

    Args:
        name: As people call it.
        hash: Of a data set's content, or of a model's weights and inference program.
    """

    name: str
    hash: str


@dataclass(frozen=True, slots=True)
class PackageVersion:
    """An installed package."""

    package: str
    version: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a record comes from, so that it can be made again.

    Args:
        command: The command line.
        seed: The seed of every draw that is not private.
        data: The data set.
        models: Each model that a claim speaks of.
        started: UTC, ISO 8601.
        seconds: Wall time of the step.
        versions: Of Quintain and of the packages that its numbers rest on.
        device, dtype, threads, platform: Of the machine.
        reproducible: False where noise came from the operating system.
    """

    command: str
    seed: int
    data: NamedHash
    models: tuple[NamedHash, ...]
    started: str
    seconds: float
    versions: tuple[PackageVersion, ...]
    device: str
    dtype: str
    threads: int
    platform: str
    reproducible: bool = True


@dataclass(frozen=True, slots=True)
class Claim:
    """A bracket with a name and a title, and which model it is about.

    Args:
        name: Unique in its run, such as ``certified:linf:4/255``.
        title: For a card's head.
        model: Whose claim it is.
        bracket: The two sides.
        primary: Whether it speaks of the model that the run is about, so that a requirement that names no
            model means it.
        lower_counts, upper_counts: Class by class, behind the two sides of an accuracy bracket.
    """

    name: str
    title: str
    model: str
    bracket: Bracket
    primary: bool = False
    lower_counts: ClassCounts | None = None
    upper_counts: ClassCounts | None = None

    def __repr__(self) -> str:
        return f"Claim({self.name}: {self.bracket.text})"

    _repr_html_ = html_repr("quintain.report.notebook:claim_html")


@dataclass(frozen=True, slots=True)
class RequirementResult:
    """A requirement and its verdict.

    Args:
        requirement: As written.
        verdict: The answer and why.
        claim_name: Name of the claim that decided, empty where none speaks of it.
        model: Whose claim that is; empty in older records, too.
        path: The file that states the requirement; empty where the command line or a default does.
        line: Its line there, from 1 up; 0 where it is not known.
    """

    requirement: str
    verdict: Verdict
    claim_name: str
    path: str = ""
    line: int = 0
    model: str = ""


@dataclass(frozen=True, slots=True)
class StepTiming:
    """How long one finished step of a drill took, and the file that holds its record."""

    name: str
    seconds: float
    path: str


@dataclass(frozen=True, slots=True)
class NotDone:
    """A part of a run that was not done.

    Args:
        what: The part, such as ``certified training``.
        reason: Why it could not be done.
        remedy: What to change so that it can be done.
    """

    what: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what} not done: {self.reason}; {self.remedy}"


@dataclass(frozen=True, slots=True)
class SizeCut:
    """An amount of work that a drill cut for time.

    Args:
        step: The step that does the work.
        what: The amount, such as ``epochs of adversarial training``.
        full: How much of it the full form does.
        chosen: How much of it was done.
    """

    step: str
    what: str
    full: int
    chosen: int

    def __str__(self) -> str:
        return f"{self.full:,} -> {self.chosen:,} {self.what}"


@dataclass(frozen=True, slots=True)
class SkippedResult:
    """A step of a drill that was not done.

    Args:
        step: Its name.
        reason: Why it could not be done.
        remedy: What to change so that it can be done.
    """

    step: str
    reason: str
    remedy: str
    kind: Literal["skipped"] = "skipped"


@dataclass(frozen=True, slots=True)
class DrillResult:
    """What a whole drill did, and what it decided.

    Args:
        steps: What was done, in order.
        requirements: The requirements of the whole run, decided.
        peak_memory_bytes: Most memory that was in use, 0 where the platform does not tell.
        quick: Whether it was the short form.
        minutes: The time that it was to keep to; 0 where none was set.
        trial_seconds: Seconds of the trials that the steps were sized by, in the start that finished it; 0 in
            older records.
    """

    steps: tuple[StepTiming, ...]
    requirements: tuple[RequirementResult, ...]
    peak_memory_bytes: int
    quick: bool
    minutes: float = 0.0
    trial_seconds: float = 0.0
    kind: Literal["drill"] = "drill"


StepResult = (
    CheckResult
    | TrainResult
    | AttackResult
    | HardenResult
    | CertifyResult
    | EvaluateResult
    | ReplayResult
    | PrivatizeResult
    | PlanResult
    | AuditResult
    | SecondOpinionResult
    | LeakResult
    | FederateResult
    | SkippedResult
    | DrillResult
    | CompareResult
)


@dataclass(frozen=True, slots=True)
class Record:
    """The file that a verb or a step writes.

    Args:
        schema: Version of this form.
        provenance: How it came about.
        claims: Brackets, each on one quantity.
        result: The step's own results.
        requirements: Requirements decided on these claims.
        notes: What the reader must know to trust it.
        verdict: How the run of a verb, or of a whole drill, ended; None in the record of one of a drill's
            steps, and in records of before.
        not_checked: Requirements of the project, as written, on what this run does not measure.
        not_done: Parts of the step that could not be done.
        cuts: What of its work was cut for time.
    """

    schema: int
    provenance: Provenance
    claims: tuple[Claim, ...]
    result: StepResult
    requirements: tuple[RequirementResult, ...] = ()
    notes: tuple[str, ...] = ()
    verdict: RunVerdict | None = None
    not_checked: tuple[str, ...] = ()
    not_done: tuple[NotDone, ...] = ()
    cuts: tuple[SizeCut, ...] = ()

    def __repr__(self) -> str:
        decisions = [one.verdict.decision.value for one in self.requirements]
        facts = [
            f"{self.result.kind} on {self.provenance.data.name or 'no data'}",
            f"{len(self.claims)} claim{'s' * (len(self.claims) != 1)}",
            *(f"{decisions.count(each)} {each}" for each in dict.fromkeys(decisions)),
        ]
        return f"Record({', '.join(facts)})"

    _repr_html_ = html_repr("quintain.report.notebook:record_html")
