"""Tell who was trained on: membership of X-rays, natural and mislabeled, by the loss and by shadow models."""

from torch import nn

import quintain as q
from quintain.evaluate.leaks.job import TargetTraining
from quintain.evaluate.leaks.membership_trainings import compare_trainings
from quintain.evaluate.leaks.trainers import PrivateTrainer, RecipeTrainer
from quintain.evaluate.privacy_target import PrivacyTarget
from quintain.leakage import LiRA, LossThreshold

EPSILON, RECORDS = 3.0, 300
"""Few records and few shadow models, so that this takes seconds; 16 of them and all X-rays tell more.

Of so few records the private net learns next to nothing, as the notes say: that attacks find nothing in it
says little. ``benchmarks.leakage.membership`` compares trainings that both learn.
"""


def build(seed: int) -> nn.Module:
    """Return the X-ray CNN."""
    return q.models.xray_cnn(seed=seed)


def main() -> None:
    """Compare a plain and a private training of one net."""
    data = q.load_data("xrays")
    target = PrivacyTarget(epsilon=EPSILON, batch_size=64, steps=60)
    found = compare_trainings(
        [
            TargetTraining(
                "plain", build, RecipeTrainer(q.training.Recipe(epochs=80, batch_size=32, learning_rate=2e-3))
            ),
            TargetTraining(
                f"private, epsilon {EPSILON:g}",
                build,
                PrivateTrainer(target),
                epsilon=EPSILON,
                delta=target.delta,
            ),
        ],
        data.split("train").sample(RECORDS, seed=0),
        data.split("val"),
        [LossThreshold(), LiRA()],
        canaries=100,
        shadows=8,
        workers=1,
    )
    for one in found.measurements:
        if one.measure in ("AUC", "membership advantage"):
            allowed = "" if one.ceiling is None else f"; at most {one.ceiling:.2f} is allowed"
            print(
                f"{one.model}, {one.candidates}, {one.attack}: {one.measure} {one.value:.2f} "
                f"({one.low:.2f} to {one.high:.2f}; {one.baseline_name}: {one.baseline:.2f}{allowed})"
            )
    for note in found.notes:
        print(f"note: {note}")


if __name__ == "__main__":
    main()
