"""What each verb leaves behind: one typed record a step, read by ``report``, ``compare`` and later steps."""

from dataclasses import dataclass
from typing import Literal

from quintain.results.bounds import Bracket
from quintain.results.privacy_records import Audited, Federated, Leaked, Planned, Privatized
from quintain.results.robustness_records import Attacked, Certified, Checked, Hardened, Trained
from quintain.results.tally import Tally
from quintain.results.verdict import Verdict

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a record comes from, so that it can be made again.

    Args:
        command: The command line.
        seed: The seed of every draw that is not private.
        data: Name and content hash of the data set.
        models: (name, hash of weights and inference program) of each model that a claim speaks of.
        started: UTC, ISO 8601.
        seconds: Wall time of the step.
        versions: (package, version) pairs.
        device, dtype, threads, platform: Of the machine.
        reproducible: False where noise came from the operating system.
    """

    command: str
    seed: int
    data: tuple[str, str]
    models: tuple[tuple[str, str], ...]
    started: str
    seconds: float
    versions: tuple[tuple[str, str], ...]
    device: str
    dtype: str
    threads: int
    platform: str
    reproducible: bool = True


@dataclass(frozen=True, slots=True)
class Claim:
    """A bracket with its name for people.

    Args:
        name: Unique in its run, such as ``certified:linf:4/255``.
        title: For a card's head.
        model: Whose claim it is.
        bracket: The two sides.
        delivered: Whether it speaks of what the run delivers, so that a requirement that names no model means it.
        proved, standing: Class by class, behind an accuracy bracket.
    """

    name: str
    title: str
    model: str
    bracket: Bracket
    delivered: bool = False
    proved: Tally | None = None
    standing: Tally | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A requirement and its verdict.

    Args:
        requirement: As written.
        verdict: The answer and why.
        claim: Name of the claim that decided, empty where none speaks of it.
    """

    requirement: str
    verdict: Verdict
    claim: str


@dataclass(frozen=True, slots=True)
class Step:
    """One finished step of a drill."""

    name: str
    seconds: float
    path: str


@dataclass(frozen=True, slots=True)
class Drilled:
    """A whole drill.

    Args:
        steps: What was done, in order.
        judged: The requirements.
        peak_memory: In bytes, 0 where the platform does not tell.
        quick: Whether it was the short form.
    """

    steps: tuple[Step, ...]
    judged: tuple[Judged, ...]
    peak_memory: int
    quick: bool
    kind: Literal["drill"] = "drill"


Body = Checked | Trained | Attacked | Hardened | Certified | Privatized | Planned | Audited | Leaked | Federated | Drilled


@dataclass(frozen=True, slots=True)
class Record:
    """The file that a verb or a step writes.

    Args:
        schema: Version of this form.
        provenance: How it came about.
        claims: Brackets, each on one quantity.
        judged: Requirements judged on these claims.
        body: The step's own results.
        notes: What the reader must know to trust it.
    """

    schema: int
    provenance: Provenance
    claims: tuple[Claim, ...]
    body: Body
    judged: tuple[Judged, ...] = ()
    notes: tuple[str, ...] = ()
