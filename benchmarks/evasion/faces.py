"""Eyeglass frames on the ORL faces: taken for another, or for anybody else, beside frames of random pattern."""

from collections.abc import Iterator

import numpy as np
import torch

import quintain as q
from benchmarks.evasion.shared import path
from benchmarks.harness import Told
from quintain.attacks.perturbation import Score, score
from quintain.attacks.physical.eyeglasses import Eyeglasses
from quintain.attacks.physical.printing import Printing
from quintain.data.dataset import Dataset, from_arrays

PEOPLE = 40
LEARNT, FITTED = 5, 3
"""Photos of each person that the net learns from, and that frames are fitted on; the other two are scored on."""


def faces() -> tuple[Dataset, np.ndarray]:
    """All photos, and the number of each among those of its person."""
    with np.load(path("data/faces_orl.npz"), allow_pickle=False) as stored:
        data = from_arrays(stored["images"], stored["labels"], name="faces", classes=PEOPLE)
    return data, np.arange(len(data)) % 10


def face_net(train: Dataset) -> q.Classifier:
    """A small net, trained here."""
    from quintain.models.nets import initialise

    with torch.device("meta"):
        net = torch.nn.Sequential(
            torch.nn.AvgPool2d(2), torch.nn.Conv2d(1, 16, 5, stride=2, padding=2), torch.nn.ReLU(),
            torch.nn.Conv2d(16, 32, 3, stride=2, padding=1), torch.nn.ReLU(),
            torch.nn.Flatten(), torch.nn.Linear(32 * 14 * 12, 128), torch.nn.ReLU(), torch.nn.Linear(128, PEOPLE),
        )  # fmt: skip
    initialise(net, 0)
    q.training.fit(net, train, q.training.Recipe(60, batch=20, rate=1e-3))
    return q.Classifier(net.eval(), classes=PEOPLE)


def total(scores: list[Score]) -> str:
    """The rate over all wearers."""
    eligible = sum(one.eligible for one in scores)
    return f"{sum(one.reached for one in scores) / eligible:.0%} of {eligible}"


def run() -> Iterator[Told]:
    """Dodging, then impersonation of the next person but six, each wearer with a frame of their own."""
    data, turn = faces()
    model = face_net(data.subset(np.flatnonzero(turn < LEARNT)))
    x, y = data.batch(np.flatnonzero(turn >= LEARNT + FITTED))
    right = model.predict(x) == y
    yield Told("faces", f"{float(right.float().mean()):.0%} of {len(y)} photos held out are recognised")
    known = [person for person in range(PEOPLE) if right[y == person].any()]
    for name, printing in (("", None), (", printed and photographed", Printing())):
        for what, shift in (("dodging", None), ("impersonation", 7)):
            fitted, random = [], []
            for person in known:
                target = None if shift is None else (person + shift) % PEOPLE
                own = np.flatnonzero((data.labels == person) & (turn >= LEARNT))
                frame = Eyeglasses(target, printing=printing).fit(model, data.subset(own[:FITTED]), seed=person)
                for scores, one in ((fitted, frame), (random, frame.random(person))):
                    scores.append(score(model, data.subset(own[FITTED:]), one, seed=1, target=target))
            yield Told(f"eyeglasses, {what}{name}", f"fitted {total(fitted)}, random {total(random)} photos held out")
