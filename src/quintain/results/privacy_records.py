"""Results of private training, privacy audits, reconstructions and federated training."""

from dataclasses import dataclass
from typing import Literal

from quintain.results.artifacts import ModelFile, Picture
from quintain.results.bounds import Bound
from quintain.results.class_counts import ClassCounts
from quintain.results.leak_records import LeakMeasurement, LeakPictures
from quintain.results.robustness_records import TrainingRun


@dataclass(frozen=True, slots=True)
class PrivacyPlan:
    """The public settings of a DP-SGD run and the epsilon that they cost.

    Args:
        noise_multiplier: Standard deviation of the noise in the sum of gradients, in units of the clip norm.
        max_grad_norm: The clip norm.
        expected_batch_size: The expected size of a batch, by which the sum of gradients is divided.
        sample_rate: Probability of each record to be in a batch.
        steps: Number of steps.
        delta: The delta of the guarantee.
        epsilon: The accountant's upper bound on epsilon at that delta.
        accountant: Name of the accountant, such as ``PLD (dp-accounting)``.
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
    """What an epsilon guarantees, to whom, and what it rests on.

    Args:
        epsilon_lower_bound: Proven lower bound on the mechanism's epsilon, which no accountant can go below;
            None where no such bound is known.
        adversary_accuracy: Largest probability with which an adversary, who knows all the rest, guesses
            whether one record was used; 0.5 is chance.
        adjacency: Which data sets are neighbors.
        privacy_unit: Whose presence is hidden.
        sampling: How batches are drawn.
        noise: The kind of the noise, and the source of its random numbers.
        reproducible: Whether the noise follows from a seed; privacy then holds only against those who do not
            know the seed.
        warnings: What weakens the guarantee.
        assumptions: What the guarantee assumes and no check can verify.
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
        plan: Its public settings and the epsilon that they cost.
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
        plan: The public settings and the epsilon that they cost.
        clipped_fraction: Fraction of the per-example gradients that were clipped (private: for the data's
            owner only).
        statement: What epsilon guarantees, and what it rests on.
        epsilon_sweep: Trainings of the same plan at other target epsilons.
        batch_size_sweep: Trainings at the same target epsilon with other batch sizes.
        composed_epsilon: The epsilon of all private trainings of this record together, which is also what
            choosing the best of them costs at most.
        stop_reason: Why there are fewer steps than planned; empty for a finished run.
        nonprivate_epochs: Epochs of the training without privacy; None if another step trained it.
        nonprivate_converged: Whether twice as many epochs were no better; None if that was not tried.
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
    nonprivate_epochs: int | None = None
    nonprivate_converged: bool | None = None
    kind: Literal["privatize"] = "privatize"


@dataclass(frozen=True, slots=True)
class PlanResult:
    """Epsilon and noise of several plans for private training, computed without training.

    Args:
        plan: The plan in question, and the epsilon that it costs.
        target_epsilon: The epsilon that must not be exceeded.
        dataset_size: Number of training records.
        steps_within_budget: Number of steps that cost ``target_epsilon`` at most, with the plan's batch size
            and noise.
        batch_sizes, step_counts: The rows and the columns of both grids.
        noise_grid: The smallest noise multiplier that keeps ``target_epsilon``, by batch size and steps.
        epsilon_grid: Epsilon with the plan's noise multiplier, by batch size and steps.
        warnings: What weakens a guarantee at this delta.
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
class AssumedBound:
    """What an audit shows if something is assumed that nothing can prove: no side of a bracket.

    Args:
        method: How it was found.
        epsilon: The lower bound on epsilon, at the confidence of the run's audit.
        assumptions: What must be true for it to hold.
    """

    method: str
    epsilon: float
    assumptions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuditRun:
    """The result of the audit of one training run.

    Args:
        title: What was audited, such as ``the plan`` or ``control: the same without noise``.
        lower: The audit's lower bound on epsilon.
        max_auditable_epsilon: The highest epsilon that an audit of this size can show.
        canaries, guesses, correct: Numbers of canaries, of those that were guessed, and of correct guesses.
        confidence: Confidence of the lower bound.
        bin_edges: Edges of the histogram of the canaries' scores.
        included_counts, excluded_counts: Canaries in each bin, those trained on and those left out.
        repeated_epsilons: Lower bounds of repetitions with fresh coins at the same confidence; an audit is
            repeated at once where its lower bound exceeds the claimed epsilon.
        gaussian_epsilon: Lower bound on epsilon, at the same confidence, if the canaries' scores are
            independent and their trade-off is a Gaussian's: an assumption, and no side of a bracket.
        assumed: What other audits that were asked for show, each under assumptions of its own.
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
    gaussian_epsilon: float | None = None
    assumed: tuple[AssumedBound, ...] = ()


@dataclass(frozen=True, slots=True)
class MechanismTest:
    """The test of one property of a mechanism, such as its noise: what was measured against what is claimed.

    Args:
        name: Name of the property, such as ``noise`` or ``inclusion``.
        expected, measured: The claimed value and the measured one.
        p_value: Probability of such a deviation if the claim is true.
        passed: Whether chance explains the deviation.
        message: The result in one sentence.
    """

    name: str
    expected: float
    measured: float
    p_value: float
    passed: bool
    message: str


@dataclass(frozen=True, slots=True)
class AuditResult:
    """The audit of a plan for private training, beside the same audit of training without noise.

    Args:
        plan: The audited plan.
        audit: The audit of the plan.
        control: The audit of a run without noise, which shows that the audit can see a leak.
        mechanism_tests: The tests of noise, sampling and clipping.
    """

    plan: PrivacyPlan
    audit: AuditRun
    control: AuditRun
    mechanism_tests: tuple[MechanismTest, ...]
    kind: Literal["audit"] = "audit"


LEAK_MARGIN = 1.0
"""A reconstruction leaks from so many dB above what is known without the update. The mean of m pictures of a
class has 1 + 1/m times the squared error of the true mean, 1 dB more for m = 4: so much is gained by knowing
the class better, and comes from no update."""


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """The image that one attack reconstructed, and how near it is to the original.

    Args:
        update_type: What the attacker had, such as ``a plain update``.
        psnr: PSNR against the original in dB; None where nothing was reconstructed.
        picture: The reconstruction; None where it is private and was not stored.
        leaks: Whether it is nearer to the original, by ``LEAK_MARGIN``, than what is known without the
            update, and the same attack reconstructs the plain update too.
        site: Number of the site whose original it is, from 1; of several sites in a sum, the one on which the
            attack gains most.
        baseline_psnr: The best PSNR without the update in dB; None in older records, which do not have it.
        psnr_by_site: The best PSNR against the original of each site in the sum, in dB.
        failure_reason: Why nothing was reconstructed; empty where something was.
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
    """What attackers find out from a model, or from the update that a site sent.

    Args:
        original: The example behind an update; None where it is private and was not stored.
        reconstructions: One for each kind of update: plain, in a secure sum, private.
        mean_image: The best mean image of public data, a baseline that needs no update.
        noise_multiplier: Noise of the private update, in units of the clip norm.
        seconds: Wall time of the reconstructions.
        nearest_image: The nearest public image, another baseline; None in older records.
        baseline_psnr_by_site: The PSNR in dB of the best baseline for each site.
        constant_image: The best image of one color, another baseline; None in older records.
        measurements: What each attack on the model found.
        pictures: Private pictures beside what attacks made of them.
        failure_reason: Why attacks failed, as where their shadow models cannot be trained; empty where
            none did.
    """

    original: Picture | None = None
    reconstructions: tuple[Reconstruction, ...] = ()
    mean_image: Reconstruction | None = None
    noise_multiplier: float = 0.0
    seconds: float = 0.0
    nearest_image: Reconstruction | None = None
    baseline_psnr_by_site: tuple[float, ...] = ()
    constant_image: Reconstruction | None = None
    measurements: tuple[LeakMeasurement, ...] = ()
    pictures: tuple[LeakPictures, ...] = ()
    failure_reason: str = ""
    kind: Literal["leak"] = "leak"

    @property
    def baselines(self) -> tuple[Reconstruction, ...]:
        """The images that an attacker has without any update, as far as the record holds them."""
        images = (self.mean_image, self.nearest_image, self.constant_image)
        return tuple(image for image in images if image is not None)


@dataclass(frozen=True, slots=True)
class SiteResult:
    """The data of one site, and the model that it trains alone.

    Args:
        name: Name of the site.
        class_counts: Number of its examples of each class.
        local_counts: Correct predictions on the test examples of the model that it trains alone.
        epsilon: Epsilon of its own ledger, where sites train privately.
        personal_counts: Of its own model of the federated training, where the strategy leaves a part of it at
            the sites.
    """

    name: str
    class_counts: tuple[int, ...]
    local_counts: ClassCounts
    epsilon: float | None = None
    personal_counts: ClassCounts | None = None


@dataclass(frozen=True, slots=True)
class RoundResult:
    """The result of one round of federated training.

    Args:
        round: Its number, from 1.
        global_counts: Correct predictions of the common model on the test examples, after the round.
        survivors, dropped: Names of the sites that stayed to the end, and of those that dropped out.
        sum_exact: Whether the secure sum equals the plain integer sum of the survivors.
        masked_vectors: Masked or encrypted vectors that reached the server.
        bytes_uploaded: Bytes that one site sent; the largest number over the sites.
        seconds: Wall time of the aggregation, all sites and the server together.
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
class FederationPrivacyResult:
    """The privacy of a whole federation, in one epsilon.

    Args:
        mechanism: What keeps it, such as ``DP-SGD at each site``.
        epsilon: Upper bound for one unit, over all sites and rounds.
        delta: Its delta.
        privacy_unit: Whose presence is hidden: a record, a patient, or a client, which is a whole site.
        adjacency: Which data sets are neighbors.
        accountant: How epsilon was computed.
        relative_noise: Where the unit is a client: the expected length of the noise on an average of all
            sites, over the longest that an update can be.
        notes: What epsilon assumes and does not cover.
    """

    mechanism: str
    epsilon: float
    delta: float
    privacy_unit: str
    adjacency: str
    accountant: str
    relative_noise: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FederateResult:
    """Federated training of one model by sites that show nobody their updates.

    Args:
        model: The common model.
        sites: The results of each site.
        rounds: The results of each round.
        centralized_counts: Correct predictions of a model trained on all data in one place.
        protocol: The secure aggregation, such as ``Bonawitz et al. 2017, 5 clients, threshold 4``.
        server_saw_updates: Whether the server saw each site's update.
        aggregation: Name of what summed the updates; empty in older records.
        guarantee: What it guarantees and what it does not, in words; empty in older records.
        privacy: Epsilon for the whole federation, where it was trained privately.
        strategy: How the sites trained together; empty in records from before there was a choice, which are
            of federated averaging.
    """

    model: ModelFile
    sites: tuple[SiteResult, ...]
    rounds: tuple[RoundResult, ...]
    centralized_counts: ClassCounts
    protocol: str
    server_saw_updates: bool = False
    aggregation: str = ""
    guarantee: str = ""
    privacy: FederationPrivacyResult | None = None
    strategy: str = ""
    kind: Literal["federate"] = "federate"
