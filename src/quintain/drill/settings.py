"""The settings of a drill, and how much work they mean."""

from dataclasses import dataclass

from quintain.results.requirements import Requirement
from quintain.results.verdict import UndecidedRule

DEFAULT_REQUIREMENTS = (
    Requirement.parse("robust_accuracy(linf:4/255) >= 0.625"),
    Requirement.parse("epsilon(delta=1e-5) <= 3"),
)
"""Requirements where the user gives none: more accuracy under attack than the majority class, and epsilon at
most 3.
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user chose.

    Args:
        seed: Seed of everything but the noise of differential privacy.
        quick: The short form: weaker models, wider brackets.
        require: Requirements to decide.
        undecided: What an undecided requirement does to the exit code.
    """

    seed: int = 0
    quick: bool = False
    require: tuple[Requirement, ...] = DEFAULT_REQUIREMENTS
    undecided: UndecidedRule = "fail"


@dataclass(frozen=True, slots=True)
class Workload:
    """How much work each step does.

    Args:
        plain_epochs, adversarial_epochs, certified_epochs, noise_epochs: Epochs of the four trainings.
        test_examples: Test X-rays that are attacked and certified; 0 for all.
        attack_steps, attack_queries: Gradient steps and black-box queries of the quick ensemble.
        marker_steps: Steps of fitting the side marker.
        smoothed_examples: X-rays that are certified by smoothing.
        noise_samples: Noise samples for each of them.
        private_batch, private_steps: Batch size and steps of DP-SGD.
        canaries: Canaries of the audit.
        inversion_steps: Steps of a reconstruction.
        rounds: Rounds of federated training.
        local_epochs: Epochs at each site in each round.
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
    rounds=6,
    local_epochs=2,
)

QUICK = Workload(
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
)
