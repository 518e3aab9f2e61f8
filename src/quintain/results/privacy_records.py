"""Results of private training, audits, reconstructions and federation."""

from dataclasses import dataclass
from typing import Literal

from quintain.results.artifacts import ModelFile, Picture
from quintain.results.bounds import Bound
from quintain.results.class_counts import ClassCounts
from quintain.results.robustness_records import TrainingRun


@dataclass(frozen=True, slots=True)
class PrivacyPlan:
    """The public settings of a DP-SGD run and the epsilon that they cost.

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
class PrivacyStatement:
    """What an epsilon says, of whom, and what it rests on.

    Args:
        epsilon_lower_bound: No smaller epsilon is true of the mechanism, by any accountant; None where no
            such bound is known.
        adversary_accuracy: How often the best adversary, who knows all but whether one record is in, tells it
            at most; half is guessing.
        adjacency: Which data sets are neighbours.
        privacy_unit: Whose presence is hidden.
        sampling: How batches are drawn.
        noise: Its kind, and where it comes from.
        reproducible: Whether it follows from a seed, so that privacy holds only against those who do not know
            it.
        warnings: What weakens the claim.
        assumptions: What no check can see.
    """

    epsilon_lower_bound: float | None
    adversary_accuracy: float
    adjacency: str
    privacy_unit: str
    sampling: str
    noise: str
    reproducible: bool
    warnings: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PrivateRun:
    """One more private training of the same net on the same data, with another budget or batch size.

    Args:
        plan: Its constants and what it cost.
        clean_counts: Correct predictions on the test examples.
        seconds: Wall time.
    """

    plan: PrivacyPlan
    clean_counts: ClassCounts
    seconds: float


@dataclass(frozen=True, slots=True)
class PrivatizeResult:
    """A privately trained model beside one of the same architecture that was trained without privacy.

    Args:
        training: The private run.
        nonprivate_counts: Correct predictions of the model trained without privacy; None where the run broke
            off before.
        plan: The constants.
        clipped_fraction: Fraction of the per-example gradients that were clipped (private: for the data's
            owner only).
        statement: What epsilon speaks of and rests on.
        epsilon_sweep: The same plan at other budgets.
        batch_size_sweep: The same budget with other batches.
        composed_epsilon: What all private trainings of this record cost together, so what choosing among them
            costs at most.
        stop_reason: Why there are fewer steps than planned; empty for a finished run.
    """

    training: TrainingRun
    nonprivate_counts: ClassCounts | None
    plan: PrivacyPlan
    clipped_fraction: float
    statement: PrivacyStatement | None = None
    epsilon_sweep: tuple[PrivateRun, ...] = ()
    batch_size_sweep: tuple[PrivateRun, ...] = ()
    composed_epsilon: float | None = None
    stop_reason: str = ""
    kind: Literal["privatize"] = "privatize"


@dataclass(frozen=True, slots=True)
class PlanResult:
    """What private training would cost: epsilon and noise for several plans, without training.

    Args:
        plan: The constants that were asked about, and what they cost.
        target_epsilon: The epsilon that must not be exceeded.
        dataset_size: How many training records there are.
        steps_within_budget: Steps that fit into the budget with the plan's batch and noise.
        batch_sizes, step_counts: Axes of the grids.
        noise_grid: Noise multiplier that keeps the budget, a row a batch, a column a number of steps.
        epsilon_grid: Epsilon with the plan's noise, likewise.
        warnings: What weakens a claim at this delta.
    """

    plan: PrivacyPlan
    target_epsilon: float
    dataset_size: int
    steps_within_budget: int
    batch_sizes: tuple[int, ...]
    step_counts: tuple[int, ...]
    noise_grid: tuple[tuple[float, ...], ...]
    epsilon_grid: tuple[tuple[float, ...], ...]
    warnings: tuple[str, ...] = ()
    kind: Literal["plan"] = "plan"


@dataclass(frozen=True, slots=True)
class AuditRun:
    """What one audit of one training run showed.

    Args:
        title: Such as ``the plan`` or ``control: the same without noise``.
        lower: The audited epsilon.
        max_auditable_epsilon: The highest epsilon that an audit of this size can show.
        canaries, guesses, correct: m, r and how many guesses were right.
        confidence: Of the lower side.
        bin_edges: Edges of the histogram of scores.
        included_counts, excluded_counts: Canaries in each bin, those trained on and those left out.
        repeated_epsilons: What each repetition showed, with fresh coins and at the same confidence:
            made at once where an audit crosses a claim.
    """

    title: str
    lower: Bound
    max_auditable_epsilon: float
    canaries: int
    guesses: int
    correct: int
    confidence: float
    bin_edges: tuple[float, ...] = ()
    included_counts: tuple[int, ...] = ()
    excluded_counts: tuple[int, ...] = ()
    repeated_epsilons: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class MechanismTest:
    """One property of a mechanism (its noise, its sampling), measured and compared with what is claimed.

    Args:
        name: Such as ``noise`` or ``inclusion``.
        expected, measured: The promised and the found number.
        p_value: Chance of a deviation like this if the promise holds.
        passed: Whether chance explains it.
        message: For people.
    """

    name: str
    expected: float
    measured: float
    p_value: float
    passed: bool
    message: str


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What an audit of a private training plan showed, beside the same audit of training without noise.

    Args:
        plan: The audited constants.
        audit: The audit of the plan.
        control: The audit of a run without noise: shows that the audit can see a leak.
        mechanism_tests: Noise and sampling as measured.
    """

    plan: PrivacyPlan
    audit: AuditRun
    control: AuditRun
    mechanism_tests: tuple[MechanismTest, ...]
    kind: Literal["audit"] = "audit"


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """What one attack on an update reconstructed, and how near it is to the original.

    Args:
        update_type: What the attacker had, such as ``a plain update``.
        psnr: In dB, against the original; None where nothing was rebuilt.
        picture: The reconstruction; None where it is private and was not stored.
        leaks: Whether it is nearer to the original than what is known without the update.
        site: Whose original, from 1: where several went in, the one that the attack gains most on.
        baseline_psnr: How near to it one comes without the update; None in records of before that was worked
            out.
        psnr_by_site: The best try against the original of each site that went in.
        failure_reason: Why nothing was rebuilt; empty where something was.
    """

    update_type: str
    psnr: float | None
    picture: Picture | None
    leaks: bool
    site: int = 1
    baseline_psnr: float | None = None
    psnr_by_site: tuple[float, ...] = ()
    failure_reason: str = ""


@dataclass(frozen=True, slots=True)
class LeakResult:
    """What an attacker rebuilds of one site's example from the update that the site sent.

    Args:
        original: The example; None where it is private and was not stored.
        reconstructions: One for each way of sending.
        mean_image: The best mean picture: what no attack at all gets.
        noise_multiplier: Noise of the privatized update, in units of the clip norm.
        seconds: Wall time of the reconstructions.
        nearest_image: The nearest of the public pictures; None in records of before that was worked out.
        baseline_psnr_by_site: For each site, how near to its original the best of these comes.
        constant_image: The best picture of one color; None in records of before that was worked out.
    """

    original: Picture | None
    reconstructions: tuple[Reconstruction, ...]
    mean_image: Reconstruction
    noise_multiplier: float
    seconds: float
    nearest_image: Reconstruction | None = None
    baseline_psnr_by_site: tuple[float, ...] = ()
    constant_image: Reconstruction | None = None
    kind: Literal["leak"] = "leak"

    @property
    def baselines(self) -> tuple[Reconstruction, ...]:
        """Pictures that an attacker has without any update, as far as the record has them."""
        return tuple(
            one for one in (self.mean_image, self.nearest_image, self.constant_image) if one is not None
        )


@dataclass(frozen=True, slots=True)
class SiteResult:
    """A site's part of the data, and its model when it trains alone.

    Args:
        name: What the site is called.
        class_counts: Its examples of each class.
        local_counts: Correct predictions of the model that it trains alone, on the test examples.
    """

    name: str
    class_counts: tuple[int, ...]
    local_counts: ClassCounts


@dataclass(frozen=True, slots=True)
class RoundResult:
    """What one round of federated training did.

    Args:
        round: Its number, from 1.
        global_counts: Correct predictions on the test examples after it.
        survivors, dropped: Names of sites.
        sum_exact: Whether the secure sum equals the plain integer sum of the survivors.
        masked_vectors: Masked vectors that reached the server.
        bytes_uploaded: Sent by one site, the most of all sites.
        seconds: Spent on aggregation, all sites and the server together.
    """

    round: int
    global_counts: ClassCounts
    survivors: tuple[str, ...]
    dropped: tuple[str, ...]
    sum_exact: bool
    masked_vectors: int
    bytes_uploaded: int
    seconds: float


@dataclass(frozen=True, slots=True)
class FederateResult:
    """Sites that train one model together and show nobody their updates.

    Args:
        model: What came out.
        sites: The sites.
        rounds: Round by round.
        centralized_counts: Correct predictions of a model trained on all data in one place.
        protocol: Such as ``Bonawitz et al. 2017, 5 clients, threshold 4``.
    """

    model: ModelFile
    sites: tuple[SiteResult, ...]
    rounds: tuple[RoundResult, ...]
    centralized_counts: ClassCounts
    protocol: str
    kind: Literal["federate"] = "federate"
