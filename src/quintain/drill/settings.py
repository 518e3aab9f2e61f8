"""What a drill is asked, and how much work that means."""

from dataclasses import dataclass

ASKED = ("robust_accuracy(linf:4/255) >= 0.625", "epsilon(delta=1e-5) <= 3")
"""What is asked where the user asks nothing: more under attack than a constant answer reaches untouched, and the budget kept."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user chose.

    Args:
        seed: Of every draw that is not private.
        quick: The short form: seconds instead of minutes, weaker models, wider brackets.
        require: Requirements to judge, as written.
    """

    seed: int = 0
    quick: bool = False
    require: tuple[str, ...] = ASKED


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything.

    Args:
        plain_epochs, adversarial_epochs, certified_epochs, noise_epochs: Of the four trainings.
        test: Test X-rays that are attacked and certified; 0 for all.
        attack_steps, attack_questions: Of the quick ensemble: gradients of each climb, and questions of the search without gradients.
        marker_steps: Of fitting the side marker.
        smoothed: X-rays that are certified by smoothing.
        noise_samples: For each of them.
        private_batch, private_steps: Of DP-SGD.
        canaries: Of the audit.
        inversion_steps: Of a reconstruction.
        rounds: Of federated training.
        local_epochs: At each hospital in each round.
    """

    plain_epochs: int
    adversarial_epochs: int
    certified_epochs: int
    noise_epochs: int
    test: int
    attack_steps: int
    attack_questions: int
    marker_steps: int
    smoothed: int
    noise_samples: int
    private_batch: int
    private_steps: int
    canaries: int
    inversion_steps: int
    rounds: int
    local_epochs: int


FULL = Scale(
    plain_epochs=30,
    adversarial_epochs=25,
    certified_epochs=40,
    noise_epochs=20,
    test=0,
    attack_steps=20,
    attack_questions=100,
    marker_steps=150,
    smoothed=100,
    noise_samples=10_000,
    private_batch=512,
    private_steps=276,
    canaries=500,
    inversion_steps=800,
    rounds=6,
    local_epochs=2,
)

QUICK = Scale(
    plain_epochs=3,
    adversarial_epochs=3,
    certified_epochs=12,
    noise_epochs=3,
    test=300,
    attack_steps=20,
    attack_questions=30,
    marker_steps=60,
    smoothed=20,
    noise_samples=2_000,
    private_batch=256,
    private_steps=180,
    canaries=500,
    inversion_steps=150,
    rounds=3,
    local_epochs=1,
)
