"""Results of private training, audits, reconstructions and federation."""

from dataclasses import dataclass
from typing import Literal

from quintain.results.artefacts import ModelFile, Picture
from quintain.results.bounds import Bound
from quintain.results.robustness_records import Training
from quintain.results.tally import Tally


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
