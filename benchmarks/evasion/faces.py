"""Measure fitted eyeglass frames on the ORL faces, for dodging and impersonation, beside random frames."""

from collections.abc import Callable, Iterator

import numpy as np
import torch

import quintain as q
from benchmarks.evasion.shared import path
from benchmarks.harness import Comparison
from quintain.attacks.perturbation import SuccessRate, success_rate
from quintain.attacks.universal.eyeglasses import Eyeglasses
from quintain.attacks.universal.printing import Printing
from quintain.data.dataset import Dataset, from_arrays

PEOPLE = 40
TRAIN_PHOTOS, FIT_PHOTOS = 5, 3
"""Photos of each person that the net is trained on, and that frames are fitted on; two are held out."""


def faces() -> tuple[Dataset, np.ndarray]:
    """Return all photos, and the number of each among those of its person."""
    with np.load(path("data/faces_orl.npz"), allow_pickle=False) as stored:
        data = from_arrays(stored["images"], stored["labels"], name="faces", num_classes=PEOPLE)
    return data, np.arange(len(data)) % 10


def face_net(train: Dataset) -> q.Classifier:
    """Train a small net."""
    from quintain.models.nets import initialize

    with torch.device("meta"):
        net = torch.nn.Sequential(
            torch.nn.AvgPool2d(2), torch.nn.Conv2d(1, 16, 5, stride=2, padding=2), torch.nn.ReLU(),
            torch.nn.Conv2d(16, 32, 3, stride=2, padding=1), torch.nn.ReLU(),
            torch.nn.Flatten(), torch.nn.Linear(32 * 14 * 12, 128), torch.nn.ReLU(),
            torch.nn.Linear(128, PEOPLE),
        )  # fmt: skip
    initialize(net, 0)
    q.training.fit(net, train, q.training.Recipe(60, batch_size=20, learning_rate=1e-3))
    return q.Classifier(net.eval(), num_classes=PEOPLE)


def overall_rate(rates: list[SuccessRate]) -> str:
    """Return the success rate over all wearers."""
    eligible = sum(rate.eligible for rate in rates)
    return f"{sum(rate.successes for rate in rates) / eligible:.0%} of {eligible}"


def most_similar_person(model: q.Classifier, train: Dataset) -> np.ndarray:
    """Return for each person the other one with the largest mean logit on their photos."""
    x, y = train.tensors
    with torch.no_grad():
        logits = model(x)
    mean = torch.stack([logits[y == person].mean(0) for person in range(PEOPLE)])
    return mean.fill_diagonal_(-torch.inf).argmax(1).numpy()


def run() -> Iterator[Comparison]:
    """Fit a frame for every second person: to dodge, and to pass for the most similar or another one."""
    data, photo_number = faces()
    train = data.subset(np.flatnonzero(photo_number < TRAIN_PHOTOS))
    model = face_net(train)
    x, y = data.batch(np.flatnonzero(photo_number >= TRAIN_PHOTOS + FIT_PHOTOS))
    correct = model.predict(x) == y
    yield Comparison(
        "faces", f"{float(correct.float().mean()):.0%} of {len(y)} photos held out are recognized"
    )
    wearers = [person for person in range(0, PEOPLE, 2) if correct[y == person].any()]
    similar = most_similar_person(model, train)
    targets: dict[str, Callable[[int], int | None]] = {
        "dodging": lambda _person: None,
        "impersonation of the most similar person": lambda person: int(similar[person]),
        "impersonation of anyone": lambda person: (person + 7) % PEOPLE,
    }
    for name, printing in (("", None), (", printed and photographed", Printing())):
        for goal, target_of in targets.items():
            fitted, random = [], []
            for person in wearers:
                own = np.flatnonzero((data.labels == person) & (photo_number >= TRAIN_PHOTOS))
                frame = Eyeglasses(target_of(person), printing=printing).fit(
                    model, data.subset(own[:FIT_PHOTOS]), seed=person
                )
                for rates, worn in ((fitted, frame), (random, frame.random_control(person))):
                    rates.append(
                        success_rate(
                            model, data.subset(own[FIT_PHOTOS:]), worn, seed=1, target=target_of(person)
                        )
                    )
            yield Comparison(
                f"eyeglasses, {goal}{name}",
                f"fitted {overall_rate(fitted)}, random {overall_rate(random)} photos held out",
            )
