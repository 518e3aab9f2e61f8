"""The settings of a drill, and how much work they mean."""

from dataclasses import dataclass, replace
from pathlib import Path

from quintain.results.requirements import Requirement
from quintain.results.verdict import UndecidedRule

BUNDLED_MODEL, BUNDLED_DATA, DEFAULT_THREAT = "xray-cnn", "xrays", "linf:4/255"
"""What the drill is on, and against what, where nothing was named."""

BUNDLED_MINUTES, OWN_MINUTES = 5.0, 20.0
"""The time that a drill keeps to where none was named: on the bundled X-rays, and on other data or models."""

DEFAULT_REQUIREMENTS = (
    Requirement.parse("robust_accuracy(linf:4/255) >= 0.625"),
    Requirement.parse("epsilon(delta=1e-5) <= 3"),
)
"""Requirements on the bundled X-rays where the user gives none: more accuracy under attack than the majority
class, and epsilon at most 3.
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user chose.

    Args:
        seed: Seed of everything but the noise of differential privacy.
        quick: The short form: weaker models, wider brackets.
        require: Requirements to decide.
        undecided: What an undecided requirement does to the exit code.
        model: A registered net, ``path/to/file.py:factory``, or a black box.
        data: As ``load_data`` takes it.
        weights: File of the model's weights; it is trained first if not given.
        threat: What may be changed: it is trained against, and attacked and certified at half and at twice
            the size too.
        epsilon: The target of private training.
        clients: Number of sites of federated training.
        only: The steps to do; all if empty. Steps that they need are done too.
        classes: Number of classes, where the labels do not show all.
        minutes: The time to keep to; 5 for the bundled X-rays and 20 for others if 0.
    """

    seed: int = 0
    quick: bool = False
    require: tuple[Requirement, ...] = DEFAULT_REQUIREMENTS
    undecided: UndecidedRule = "fail"
    model: str = BUNDLED_MODEL
    data: str = BUNDLED_DATA
    weights: Path | None = None
    threat: str = DEFAULT_THREAT
    epsilon: float = 3.0
    clients: int = 5
    only: tuple[str, ...] = ()
    classes: int | None = None
    minutes: float = 0.0

    @property
    def is_bundled(self) -> bool:
        """Whether the drill is that on the bundled X-rays, with the net that was chosen for them."""
        return (self.model, self.data, self.weights) == (BUNDLED_MODEL, BUNDLED_DATA, None)

    @property
    def has_default_claims(self) -> bool:
        """Whether the drill makes the claims that ``DEFAULT_REQUIREMENTS`` are about."""
        return self.is_bundled and self.threat == DEFAULT_THREAT and self.epsilon <= 3 and not self.only

    @property
    def seconds(self) -> float:
        """The time to keep to."""
        return 60 * (self.minutes or (BUNDLED_MINUTES if self.is_bundled else OWN_MINUTES))


@dataclass(frozen=True, slots=True)
class Workload:
    """How much work each step does.

    Args:
        plain_epochs, adversarial_epochs, certified_epochs, noise_epochs: Epochs of the four trainings.
        test_examples: Test examples that are attacked and certified; 0 for all.
        attack_steps, attack_queries: Gradient steps and black-box queries of the quick ensemble.
        marker_steps: Steps of fitting the sticker.
        smoothed_examples: Examples that are certified by smoothing.
        noise_samples: Noise samples for each of them.
        bound_seconds: Seconds for linear bounds of what intervals and attacks leave open.
        private_batch, private_steps: Batch size and steps of DP-SGD.
        canaries: Canaries of the audit.
        inversion_steps: Steps of a reconstruction.
        rounds: Rounds of federated training.
        local_epochs: Epochs at each site in each round.
        train_examples: Examples to train on; 0 for all.
        black_box_queries: Queries on each example of an attack on a model that gives no gradients.
        hardened_models: Models that are trained with a defense, at most.
        membership_candidates: Examples of which half are trained on, where membership is attacked.
        membership_pairs: Pairs of shadow models of each net there.
        membership_epochs: Epochs of its plain trainings.
        identity_queries: Queries of each person whose face is made.
    """

    plain_epochs: int
    adversarial_epochs: int
    certified_epochs: int
    noise_epochs: int
    test_examples: int
    attack_steps: int
    attack_queries: int
    marker_steps: int
    smoothed_examples: int
    noise_samples: int
    private_batch: int
    private_steps: int
    canaries: int
    inversion_steps: int
    rounds: int
    local_epochs: int
    train_examples: int = 0
    black_box_queries: int = 5_000
    hardened_models: int = 3
    bound_seconds: int = 90
    membership_candidates: int = 1_000
    membership_pairs: int = 4
    membership_epochs: int = 100
    identity_queries: int = 3_200


FULL = Workload(
    plain_epochs=30,
    adversarial_epochs=25,
    certified_epochs=40,
    noise_epochs=20,
    test_examples=0,
    attack_steps=20,
    attack_queries=100,
    marker_steps=150,
    smoothed_examples=100,
    noise_samples=10_000,
    private_batch=512,
    private_steps=276,
    canaries=500,
    inversion_steps=800,
    rounds=12,
    local_epochs=1,
)

QUICK = Workload(
    black_box_queries=1_000,
    plain_epochs=3,
    adversarial_epochs=3,
    certified_epochs=12,
    noise_epochs=3,
    test_examples=300,
    attack_steps=20,
    attack_queries=30,
    marker_steps=60,
    smoothed_examples=20,
    noise_samples=2_000,
    private_batch=256,
    private_steps=180,
    canaries=500,
    inversion_steps=150,
    rounds=3,
    local_epochs=1,
    bound_seconds=4,
    membership_candidates=600,
    membership_pairs=2,
    identity_queries=1_600,
)

MAX_TEST_EXAMPLES = 1_000
"""So many examples of the user's test split are attacked and certified, drawn by the seed: 95 % intervals are
then 6 points wide at most.
"""

RECORDS_PER_BATCH = 9
"""Private training on the user's data takes one record of so many into each batch, within the limits below,
as it does on the X-rays.
"""

OWN_BOUNDS = 4
"""On the user's data linear bounds may take so many times the seconds that they have on the X-rays."""

MIN_PRIVATE_BATCH, MAX_PRIVATE_BATCH = 32, 2_048


def fit_workload(workload: Workload, *, train: int, test: int, bundled: bool) -> Workload:
    """Return a workload in numbers of a data set: no 0 stands for all of something.

    Args:
        workload: Chosen for the bundled X-rays.
        train, test: Examples of the splits; 0 for a split that there is not.
        bundled: Whether the data are the bundled X-rays.
    """
    counts = {
        "train_examples": min(workload.train_examples or train, train),
        "test_examples": min(workload.test_examples or test, test),
    }
    if bundled:
        return replace(workload, **counts)
    batch = min(max(train // RECORDS_PER_BATCH, MIN_PRIVATE_BATCH), MAX_PRIVATE_BATCH, max(train, 1))
    return replace(
        workload,
        train_examples=counts["train_examples"],
        test_examples=min(counts["test_examples"], MAX_TEST_EXAMPLES),
        private_batch=batch,
        canaries=max(1, min(workload.canaries, train // 4)),
        bound_seconds=OWN_BOUNDS * workload.bound_seconds,
    )
