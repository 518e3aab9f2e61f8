"""What each verb leaves behind: one typed record a step, read by ``report``, ``compare`` and later steps."""

from dataclasses import dataclass
from typing import Literal

from quintain.results.bounds import Bound, Bracket
from quintain.results.states import PerExample
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
class Picture:
    """A PNG file of the run folder.

    Args:
        path: Relative to the run folder.
        sha256: Of the file.
        caption: What is seen.
        mark: ``good``, ``bad``, ``reference`` or empty: the colour of its frame.
    """

    path: str
    sha256: str
    caption: str
    mark: Literal["", "good", "bad", "reference"] = ""


Gallery = tuple[tuple[Picture, ...], ...]
"""Rows of pictures that belong together."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model as it lies in the run folder.

    Args:
        name: Such as ``certified``.
        title: For people, such as ``certified training``.
        subject: Hash of weights and inference program.
        parameters: How many.
        path: Of the safetensors file, relative to the run folder; empty where the model is the user's own file.
        sha256: Of that file.
    """

    name: str
    title: str
    subject: str
    parameters: int
    path: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check looked at."""

    name: str
    level: Literal["ok", "note", "warning", "error"]
    text: str


@dataclass(frozen=True, slots=True)
class Checked:
    """Data and model, before anything is believed.

    Args:
        findings: What was looked at.
        classes: Images of each class in each split, as (split, counts).
        class_names: What the classes are called.
        shape: (C, H, W).
    """

    findings: tuple[Finding, ...]
    classes: tuple[tuple[str, tuple[int, ...]], ...]
    class_names: tuple[str, ...]
    shape: tuple[int, ...]
    kind: Literal["check"] = "check"


@dataclass(frozen=True, slots=True)
class Training:
    """One training run.

    Args:
        model: What came out.
        clean: Right answers on the unchanged test examples.
        losses: Mean loss of each epoch.
        seconds: Wall time.
        plan: Its settings, for people.
    """

    model: ModelFile
    clean: Tally
    losses: tuple[float, ...]
    seconds: float
    plan: str


@dataclass(frozen=True, slots=True)
class AttackRow:
    """One attack at one size.

    Args:
        attack: Its name.
        threat: Token.
        standing: Right answers left, class by class.
        forwards, backwards: Mean calls an example.
        seconds: Wall time.
    """

    attack: str
    threat: str
    standing: Tally
    forwards: float
    backwards: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Attacks:
    """What attacks did to one model.

    Args:
        model: The model's name.
        title: For people.
        rows: Attack by attack and size by size.
        examples: The smallest change found for each example; nothing proved.
        ball: ``linf`` or ``l2``.
        gallery: Rows of clean picture, change, adversarial picture.
    """

    model: str
    title: str
    rows: tuple[AttackRow, ...]
    examples: PerExample
    ball: str
    gallery: Gallery = ()


@dataclass(frozen=True, slots=True)
class Robustness:
    """Both sides of one model, example by example.

    Args:
        model: The model's name.
        title: For people.
        certifier: What proved the lower side.
        ball: ``linf`` or ``l2``.
        examples: Both radii of each example.
        asked: The sizes that were asked about.
        classes: How many classes there are.
        curve: Sizes at which to draw the curves.
        seconds: Wall time of the proofs.
    """

    model: str
    title: str
    certifier: str
    ball: str
    examples: PerExample
    asked: tuple[float, ...]
    classes: int
    curve: tuple[float, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Trained:
    """A plainly trained model."""

    training: Training
    kind: Literal["train"] = "train"


@dataclass(frozen=True, slots=True)
class Attacked:
    """Models under attack."""

    attacks: tuple[Attacks, ...]
    kind: Literal["attack"] = "attack"


@dataclass(frozen=True, slots=True)
class Hardened:
    """Models trained to stand, and what the same attacks do to them."""

    trainings: tuple[Training, ...]
    attacks: tuple[Attacks, ...]
    kind: Literal["harden"] = "harden"


@dataclass(frozen=True, slots=True)
class Certified:
    """What is proved of each model."""

    robustness: tuple[Robustness, ...]
    kind: Literal["certify"] = "certify"


@dataclass(frozen=True, slots=True)
class PrivacyPlan:
    """The public constants of a DP-SGD run.

    Args:
        noise_multiplier: Noise in units of the clip norm, in the sum.
        max_grad_norm: The clip norm.
        expected_batch_size: The public divisor.
        sample_rate: Chance of each record to be in a step.
        steps: How many steps.
        delta: The delta of the statement.
        epsilon: What the accountant gives for it.
        accountant: Such as ``PLD (dp-accounting)``.
    """

    noise_multiplier: float
    max_grad_norm: float
    expected_batch_size: int
    sample_rate: float
    steps: int
    delta: float
    epsilon: float
    accountant: str


@dataclass(frozen=True, slots=True)
class Privatized:
    """A privately trained model beside the plain one of the same architecture.

    Args:
        training: The private run.
        plain: Right answers of the plain model.
        plan: The constants.
        clipped: Share of the per-example gradients that were clipped (private: for the data's owner only).
    """

    training: Training
    plain: Tally
    plan: PrivacyPlan
    clipped: float
    kind: Literal["privatize"] = "privatize"


@dataclass(frozen=True, slots=True)
class AuditRun:
    """One audit of one training run.

    Args:
        title: Such as ``the plan`` or ``control: the same without noise``.
        lower: The audited epsilon.
        ceiling: The highest epsilon that an audit of this size can show.
        canaries, guesses, correct: m, r and how many guesses were right.
        confidence: Of the lower side.
        bins: Edges of the histogram of scores.
        inside, outside: Counts of canaries in each bin, those trained on and those left out.
    """

    title: str
    lower: Bound
    ceiling: float
    canaries: int
    guesses: int
    correct: int
    confidence: float
    bins: tuple[float, ...] = ()
    inside: tuple[int, ...] = ()
    outside: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SpecificationTest:
    """A mechanism measured against what it promises.

    Args:
        name: Such as ``noise`` or ``inclusion``.
        expected, measured: The promised and the found number.
        p_value: Chance of a deviation like this if the promise holds.
        passed: Whether chance explains it.
        text: For people.
    """

    name: str
    expected: float
    measured: float
    p_value: float
    passed: bool
    text: str


@dataclass(frozen=True, slots=True)
class Audited:
    """The same plan attacked from below, with its positive control.

    Args:
        plan: The audited constants.
        run: The audit of the plan.
        control: The audit of a run without noise: shows that the audit can see a leak.
        specification: Noise and sampling as measured.
    """

    plan: PrivacyPlan
    run: AuditRun
    control: AuditRun
    specification: tuple[SpecificationTest, ...]
    kind: Literal["audit"] = "audit"


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """What one attack on an update got.

    Args:
        setting: What the attacker had, such as ``a plain update``.
        psnr: In dB, against the original.
        picture: The reconstruction.
        leaks: Whether it beats the baseline.
    """

    setting: str
    psnr: float
    picture: Picture
    leaks: bool


@dataclass(frozen=True, slots=True)
class Leaked:
    """One hospital's X-ray, rebuilt from what it sent, or not.

    Args:
        original: The X-ray.
        attempts: One for each way of sending.
        baseline: The mean image: what no attack at all gets.
        noise: The clip norm's share that the privatized update's noise has.
        seconds: Wall time of the reconstructions.
    """

    original: Picture
    attempts: tuple[Reconstruction, ...]
    baseline: Reconstruction
    noise: float
    seconds: float
    kind: Literal["leak"] = "leak"


@dataclass(frozen=True, slots=True)
class Site:
    """A hospital's part of the data, and its model when it trains alone."""

    name: str
    classes: tuple[int, ...]
    alone: Tally


@dataclass(frozen=True, slots=True)
class Round:
    """One round of federated training.

    Args:
        number: From 1.
        global_model: Right answers on the test examples after it.
        survivors, dropped: Names of hospitals.
        exact: Whether the secure sum equals the plain integer sum of the survivors.
        vectors_seen: Masked vectors that reached the server.
        bytes_up: Sent by one hospital, most of all.
        seconds: Spent on aggregation, all parties together.
    """

    number: int
    global_model: Tally
    survivors: tuple[str, ...]
    dropped: tuple[str, ...]
    exact: bool
    vectors_seen: int
    bytes_up: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Federated:
    """Hospitals that train together and show nobody their updates.

    Args:
        model: What came out.
        sites: The hospitals.
        rounds: Round by round.
        pooled: A model trained on all data in one place.
        protocol: Such as ``Bonawitz et al. 2017, 5 clients, threshold 4``.
    """

    model: ModelFile
    sites: tuple[Site, ...]
    rounds: tuple[Round, ...]
    pooled: Tally
    protocol: str
    kind: Literal["federate"] = "federate"


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


Body = Checked | Trained | Attacked | Hardened | Certified | Privatized | Audited | Leaked | Federated | Drilled


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
