"""Eyeglass frames on the ORL faces: taken for another, or for anybody else, beside frames of random pattern;
every second person.
"""

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
LEARNT, FITTED = 5, 3
"""Photos of each person that the net learns from, and that frames are fitted on; the other two are scored
on.
"""


def faces() -> tuple[Dataset, np.ndarray]:
    """All photos, and the number of each among those of its person."""
    with np.load(path("data/faces_orl.npz"), allow_pickle=False) as stored:
        data = from_arrays(stored["images"], stored["labels"], name="faces", num_classes=PEOPLE)
    return data, np.arange(len(data)) % 10


def face_net(train: Dataset) -> q.Classifier:
    """A small net, trained here."""
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


def total(scores: list[SuccessRate]) -> str:
    """The rate over all wearers."""
    eligible = sum(one.eligible for one in scores)
    return f"{sum(one.successes for one in scores) / eligible:.0%} of {eligible}"


def nearest(model: q.Classifier, train: Dataset) -> np.ndarray:
    """For each person the other one that the net finds most alike: the largest mean logit on their photos."""
    x, y = train.batch(np.arange(len(train)))
    with torch.no_grad():
        logits = model(x)
    mean = torch.stack([logits[y == person].mean(0) for person in range(PEOPLE)])
    return mean.fill_diagonal_(-torch.inf).argmax(1).numpy()


def run() -> Iterator[Comparison]:
    """Dodging; impersonation of the person most alike, and of the next but six; each wearer with a frame of
    their own.
    """
    data, turn = faces()
    train = data.subset(np.flatnonzero(turn < LEARNT))
    model = face_net(train)
    x, y = data.batch(np.flatnonzero(turn >= LEARNT + FITTED))
    right = model.predict(x) == y
    yield Comparison("faces", f"{float(right.float().mean()):.0%} of {len(y)} photos held out are recognized")
    wearers = [person for person in range(0, PEOPLE, 2) if right[y == person].any()]
    alike = nearest(model, train)
    aims: dict[str, Callable[[int], int | None]] = {
        "dodging": lambda _person: None,
        "impersonation of the one most alike": lambda person: int(alike[person]),
        "impersonation of anyone": lambda person: (person + 7) % PEOPLE,
    }
    for name, printing in (("", None), (", printed and photographed", Printing())):
        for what, aim in aims.items():
            fitted, random = [], []
            for person in wearers:
                own = np.flatnonzero((data.labels == person) & (turn >= LEARNT))
                frame = Eyeglasses(aim(person), printing=printing).fit(
                    model, data.subset(own[:FITTED]), seed=person
                )
                for scores, one in ((fitted, frame), (random, frame.random_control(person))):
                    scores.append(
                        success_rate(model, data.subset(own[FITTED:]), one, seed=1, target=aim(person))
                    )
            yield Comparison(
                f"eyeglasses, {what}{name}", f"fitted {total(fitted)}, random {total(random)} photos held out"
            )
