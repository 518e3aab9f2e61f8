"""Patient Zero: faces of the people whom a model was trained on, from its answers alone.

The faces are drawn, so that the example needs no one's pictures: each person has features of her own, each
picture another light, place and mouth.
"""

import numpy as np
from torch import nn

import quintain as q
from quintain.data import Dataset, from_arrays
from quintain.evaluate.leaks.identity import measure
from quintain.evaluate.leaks.job import LeakJob, LeakTarget
from quintain.leakage import InversionGradient, InversionLabels, InversionScores
from quintain.models.nets import initialize

SIDE, PRIVATE, PUBLIC = 28, 8, 40


def picture(person: int, number: int) -> np.ndarray:
    """Draw one picture (28, 28) of a person."""
    own, here = np.random.default_rng([person]), np.random.default_rng([person, number])
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j] + 0.04 * here.normal(size=(2, 1, 1))
    wide, hair, apart, eyes, brow, nose, mouth = own.uniform(size=7)
    light = 1 + 0.1 * here.normal() + 0.1 * here.normal() * x

    def soft(distance: np.ndarray) -> np.ndarray:
        return 0.5 - 0.5 * np.tanh(6 * distance)

    face = soft((x / (0.5 + 0.3 * wide)) ** 2 + (y / 0.9) ** 2 - 1)
    side = np.abs(x) - (0.2 + 0.2 * apart)
    dark = 0.9 * soft(y + 0.5 + 0.35 * (1 - hair) - 0.3 * x**2)
    dark += 0.8 * soft((side**2 + (y + 0.15) ** 2) / (0.1 + 0.1 * eyes) ** 2 - 1)
    dark += 0.7 * soft((side / 0.2) ** 2 + ((y + 0.38 + 0.3 * (brow - 0.5) * side) / 0.05) ** 2 - 1)
    dark += 0.4 * soft((x / 0.06) ** 2 + ((y - 0.1) / (0.1 + 0.2 * nose)) ** 2 - 1)
    curve = 0.3 * here.normal() * x**2
    dark += 0.7 * soft((x / (0.15 + 0.25 * mouth)) ** 2 + ((y - 0.55 - curve) / 0.06) ** 2 - 1)
    return np.clip(0.15 + light * face * (0.75 - 0.6 * np.minimum(dark, 1)), 0, 1)


def pictures(people: range, numbers: range, name: str) -> Dataset:
    """Draw pictures of people, labeled by the person's place."""
    images = np.stack([picture(person, number) for person in people for number in numbers])
    return from_arrays(images, np.repeat(np.arange(len(people)), len(numbers)), name=name)


def main() -> None:
    """Train a net on eight people, and make a face of each class."""
    members = pictures(range(PRIVATE), range(10), "private people")
    net = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 100), nn.ReLU(), nn.Linear(100, PRIVATE))
    q.training.fit(initialize(net, 0), members, q.training.Recipe(30, batch_size=10))
    model = q.Classifier(net.eval(), num_classes=PRIVATE)

    found = measure(
        LeakJob(
            LeakTarget(model, "plain"),
            (InversionGradient(), InversionScores(), InversionLabels()),
            members,
            # The judge alone sees these: other pictures of the same people.
            pictures(range(PRIVATE), range(10, 14), "other pictures"),
            # The attacker knows these: pictures of other people.
            public=pictures(range(1000, 1000 + PUBLIC), range(4), "public people"),
            budget=1000,
        )
    )
    for one in found.measurements:
        print(
            f"{one.attack}, {one.queries:.0f} queries: {one.measure}: {one.value:.0%} of {one.count} "
            f"({one.low:.0%} to {one.high:.0%}), without the model {one.baseline:.0%} ({one.baseline_name})"
        )
    for note in found.notes:
        print(note)


if __name__ == "__main__":
    main()
