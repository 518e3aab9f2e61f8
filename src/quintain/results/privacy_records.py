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
class Assurance:
    """What an epsilon speaks of and rests on.

    Args:
        least: No smaller epsilon is true of the mechanism, by any accountant; None where no such bound is known.
        telling: How often the best adversary, who knows all but whether one record is in, tells it at most; half is guessing.
        adjacency: Which data sets are neighbours.
        unit: Whose presence is hidden.
        sampling: How batches are drawn.
        noise: Its kind, and where it comes from.
        reproducible: Whether it follows from a seed, so that privacy holds only against those who do not know it.
        warnings: What weakens the claim.
        assumes: What no check can see.
    """

    least: float | None
    telling: float
    adjacency: str
    unit: str
    sampling: str
    noise: str
    reproducible: bool
    warnings: tuple[str, ...] = ()
    assumes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """One more private training of the same net on the same records, with another budget or batch.

    Args:
        plan: Its constants and what it cost.
        clean: Right answers on the test examples.
        seconds: Wall time.
    """

    plan: PrivacyPlan
    clean: Tally
    seconds: float


@dataclass(frozen=True, slots=True)
class Privatized:
    """A privately trained model beside the plain one of the same architecture.

    Args:
        training: The private run.
        plain: Right answers of the plain model; None where the run broke off before.
        plan: The constants.
        clipped: Share of the per-example gradients that were clipped (private: for the data's owner only).
        assurance: What epsilon speaks of and rests on.
        curve: The same plan at other budgets.
        batches: The same budget with other batches.
        together: What all private trainings of this record cost together, so what choosing among them costs at most.
        broke_off: Why there are fewer steps than planned; empty for a finished run.
    """

    training: Training
    plain: Tally | None
    plan: PrivacyPlan
    clipped: float
    assurance: Assurance | None = None
    curve: tuple[Trial, ...] = ()
    batches: tuple[Trial, ...] = ()
    together: float | None = None
    broke_off: str = ""
    kind: Literal["privatize"] = "privatize"


@dataclass(frozen=True, slots=True)
class Planned:
    """What private training would cost, without any of it.

    Args:
        plan: The constants that were asked about, and what they cost.
        budget: The epsilon that must not be exceeded.
        records: How many there are.
        fitting: Steps that fit into the budget with the plan's batch and noise.
        batches, steps: Axes of the grids.
        noise: Noise multiplier that keeps the budget, a row a batch, a column a number of steps.
        cost: Epsilon with the plan's noise, likewise.
        warnings: What weakens a claim at this delta.
    """

    plan: PrivacyPlan
    budget: float
    records: int
    fitting: int
    batches: tuple[int, ...]
    steps: tuple[int, ...]
    noise: tuple[tuple[float, ...], ...]
    cost: tuple[tuple[float, ...], ...]
    warnings: tuple[str, ...] = ()
    kind: Literal["plan"] = "plan"


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
        repeats: What each repetition showed, with fresh coins and at the same confidence: made at once where an audit crosses a claim.
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
    repeats: tuple[float, ...] = ()


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
        psnr: In dB, against the original; None where nothing was rebuilt.
        picture: The reconstruction; None where it is private and was not stored.
        leaks: Whether it is nearer to the original than what is known without the update.
        site: Whose original, from 1: where several went in, the one that the attack gains most on.
        floor: How near to it one comes without the update; None in records of before that was worked out.
        sites: The best try against the original of each site that went in.
        missing: Why nothing was rebuilt; empty where something was.
    """

    setting: str
    psnr: float | None
    picture: Picture | None
    leaks: bool
    site: int = 1
    floor: float | None = None
    sites: tuple[float, ...] = ()
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Leaked:
    """One hospital's X-ray, rebuilt from what it sent, or not.

    Args:
        original: The X-ray; None where it is private and was not stored.
        attempts: One for each way of sending.
        baseline: The best mean picture: what no attack at all gets.
        noise: The clip norm's share that the privatized update's noise has.
        seconds: Wall time of the reconstructions.
        nearest: The nearest of the public pictures; None in records of before that was worked out.
        floors: For each site, how near to its original the best of these comes.
        constant: The best picture of one color; None in records of before that was worked out.
    """

    original: Picture | None
    attempts: tuple[Reconstruction, ...]
    baseline: Reconstruction
    noise: float
    seconds: float
    nearest: Reconstruction | None = None
    floors: tuple[float, ...] = ()
    constant: Reconstruction | None = None
    kind: Literal["leak"] = "leak"

    @property
    def guesses(self) -> tuple[Reconstruction, ...]:
        """What is known without any update, as far as the record has it."""
        return tuple(one for one in (self.baseline, self.nearest, self.constant) if one is not None)


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
