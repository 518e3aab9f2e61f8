"""Make the faces of people whom a net was trained on, from its answers alone, and rank them among 40 people.

ORL faces, averaged down to 56x46: in each of five draws 10 people are private, with 7 pictures each for the
target and 3 for the judge, and 30 are public. All settings of the attacks were chosen with private people
among the first 20 of the 40; here they are among the other 20.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

import quintain as q
from benchmarks.evasion.shared import path
from benchmarks.harness import Comparison
from quintain.core.statistics import binomial_interval
from quintain.data.dataset import Dataset, from_arrays
from quintain.dp.training.plan import PrivatePlan
from quintain.evaluate.leaks.identity import measure_people, people_judge
from quintain.evaluate.leaks.job import LeakJob, LeakTarget
from quintain.evaluate.leaks.people import People
from quintain.leakage.attack import LeakageAttack
from quintain.leakage.identity.draws import InversionDraws
from quintain.leakage.identity.gradient import InversionGradient
from quintain.leakage.identity.labels import InversionLabels
from quintain.leakage.identity.scores import InversionScores
from quintain.models.nets import initialize
from quintain.models.protocol import Access, ClassifierLike

SEEDS = (0, 1, 2, 3, 4)
PEOPLE, PRIVATE, PER_PERSON, TRAINED = 40, 10, 10, 7
FIRST_REPORTED = 20
"""Private people are drawn from this number on; settings were chosen on those before it."""

HEIGHT, WIDTH = 56, 46
BUDGET = 3200
EPSILON, DELTA = 8.0, 1e-3
"""Of each picture of the private target; a person has seven."""

RECIPE = q.training.Recipe(60, batch_size=10, learning_rate=1e-3)
BY_SCORES = (InversionScores(),)
ALL = (InversionGradient(), InversionScores(), InversionLabels(), InversionDraws())


@dataclass(frozen=True, slots=True)
class Faces:
    """One choice of private people.

    Args:
        members: The target's training pictures.
        others: Other pictures of the same people.
        public: Pictures of other people.
    """

    members: Dataset
    others: Dataset
    public: Dataset


def divide_people(seed: int) -> Faces:
    """Choose private people of ORL by a seed; all others are public."""
    with np.load(path("data/faces_orl.npz"), allow_pickle=False) as stored:
        x = torch.from_numpy(stored["images"]).float()[:, None] / 255
        owners = stored["labels"]
    images = nn.functional.avg_pool2d(x, 2).numpy()
    rng = np.random.default_rng(seed)
    private = rng.choice(np.arange(FIRST_REPORTED, FIRST_REPORTED + 20), PRIVATE, replace=False)
    trained, held_out = [], []
    for person in private:
        order = rng.permutation(np.flatnonzero(owners == person))
        trained.append(order[:TRAINED])
        held_out.append(order[TRAINED:])
    numbers = {int(person): number for number, person in enumerate(private)}
    public = np.flatnonzero(~np.isin(owners, private))

    def dataset(rows: np.ndarray, labels: Sequence[int], name: str, classes: int) -> Dataset:
        return from_arrays(images[rows], np.array(labels), name=name, num_classes=classes)

    return Faces(
        *(
            dataset(rows, [numbers[int(owners[row])] for row in rows], name, PRIVATE)
            for rows, name in ((np.concatenate(trained), "private"), (np.concatenate(held_out), "others"))
        ),
        # labels of their own: what is called as a private person is no other one
        dataset(public, [PRIVATE + int(owners[row]) for row in public], "public", PRIVATE + PEOPLE),
    )


def softmax_regression(seed: int) -> nn.Module:
    """Return the model that Fredrikson et al. invert best."""
    return initialize(nn.Sequential(nn.Flatten(), nn.Linear(HEIGHT * WIDTH, PRIVATE)), seed)


def one_hidden_layer(seed: int) -> nn.Module:
    """Return a net of one hidden layer of 300 units, as theirs, with ReLU."""
    layers = (nn.Flatten(), nn.Linear(HEIGHT * WIDTH, 300), nn.ReLU(), nn.Linear(300, PRIVATE))
    return initialize(nn.Sequential(*layers), seed)


def convolutional(seed: int) -> nn.Module:
    """Return a net of two convolutions with pools; the judge's have strides."""
    return initialize(
        nn.Sequential(
            nn.AvgPool2d(2), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * 7 * 5, 64), nn.ReLU(), nn.Linear(64, PRIVATE),
        ),
        seed,
    )  # fmt: skip


def plain(net: nn.Module, data: Dataset, seed: int) -> q.Classifier:
    """Train without any defense."""
    q.training.fit(net, data, RECIPE, seed=seed)
    return q.Classifier(net.eval(), num_classes=PRIVATE)


def private(net: nn.Module, data: Dataset, seed: int) -> q.Classifier:
    """Train by DP-SGD with 200 steps on batches of 35."""
    batch, steps = 35, 200
    noise = q.dp.calibrate_noise_multiplier(EPSILON, DELTA, batch / len(data), steps)
    q.dp.fit(net, data, PrivatePlan(noise, 1.0, batch, steps, 0.5, 0.0, DELTA), seed=seed)
    return q.Classifier(net.eval(), num_classes=PRIVATE)


@dataclass(frozen=True, slots=True)
class RoundedScores:
    """A model that gives probabilities rounded to tenths, as their logarithms."""

    model: q.Classifier
    access: Access = "scores"
    name: str = "rounded"

    @property
    def num_classes(self) -> int:
        return self.model.num_classes

    @property
    def hash(self) -> str:
        return self.model.hash

    @property
    def num_parameters(self) -> int:
        return self.model.num_parameters

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    def __call__(self, x: Tensor) -> Tensor:
        # The floor stands for "below one twentieth".
        return (self.model(x).softmax(1) * 10).round().div(10).clamp_min(0.01).log()

    def predict(self, x: Tensor) -> Tensor:
        return self.model.predict(x)


@dataclass(slots=True)
class Tally:
    """What one attack found on one kind of target, over all draws."""

    values: dict[str, list[float]] = field(default_factory=dict)
    baselines: dict[str, list[float]] = field(default_factory=dict)
    accuracies: list[float] = field(default_factory=list)
    queries: list[float] = field(default_factory=list)

    def text(self) -> str:
        """Return counts of people, of 10 on average; an interval treats all as independent."""
        parts = []
        for measure, values in self.values.items():
            counts = [round(value * PRIVATE) for value in values]
            low, high = binomial_interval(sum(counts), PRIVATE * len(counts), 0.95)
            baseline = statistics.mean(self.baselines[measure]) * PRIVATE
            parts.append(
                f"{measure} {statistics.mean(counts):.1f} of {PRIVATE} ({', '.join(map(str, counts))}; 95 %: "
                f"{PRIVATE * low:.1f} to {PRIVATE * high:.1f}), baseline {baseline:.1f}"
            )
        return (
            f"{'; '.join(parts)}; {statistics.mean(self.queries):.0f} queries; the target is right on "
            f"{statistics.mean(self.accuracies):.0%} of the private people's other pictures"
        )


def targets(faces: Faces, seed: int) -> Iterator[tuple[str, ClassifierLike, Sequence[LeakageAttack]]]:
    """Yield the targets, and what attacks each."""
    dense = plain(one_hidden_layer(seed), faces.members, seed)
    yield "300 hidden units", dense, ALL
    yield "300 hidden units, probabilities rounded to tenths", RoundedScores(dense), BY_SCORES
    yield (
        f"300 hidden units, DP-SGD of epsilon {EPSILON:g} a picture",
        private(one_hidden_layer(seed), faces.members, seed),
        BY_SCORES,
    )
    yield "softmax regression", plain(softmax_regression(seed), faces.members, seed), BY_SCORES
    yield "two convolutions", plain(convolutional(seed), faces.members, seed), BY_SCORES


def run() -> Iterator[Comparison]:
    """Attack each target of each draw; the judge of a draw is the same for all."""
    tallies: dict[tuple[str, str], Tally] = {}
    judged = []
    for seed in SEEDS:
        faces = divide_people(seed)
        empty = LeakTarget(q.Classifier(softmax_regression(seed).eval(), num_classes=PRIVATE), "none")
        job = LeakJob(empty, (), faces.members, faces.others, public=faces.public, budget=BUDGET, seed=seed)
        people = People.of(job)
        judge = people_judge(job, people)
        judged.append(judge.accuracy)
        for title, model, attacks in targets(faces, seed):
            found = measure_people(
                replace(job, target=LeakTarget(model, title), attacks=attacks), people, judge
            )
            x, y = faces.others.tensors
            accuracy = float((model.predict(x) == y).double().mean())
            for attack in attacks:
                tally = tallies.setdefault((title, attack.name), Tally())
                tally.accuracies.append(accuracy)
                for one in found.measurements:
                    if one.attack == attack.name:
                        tally.values.setdefault(one.measure, []).append(one.value)
                        tally.baselines.setdefault(one.measure, []).append(one.baseline)
                tally.queries.append(
                    next(one.queries for one in found.measurements if one.attack == attack.name)
                )
    yield Comparison(
        "the judge",
        f"ranks the right one of {PEOPLE} people first on {statistics.mean(judged):.1%} of 280 pictures held "
        f"out ({', '.join(f'{value:.1%}' for value in judged)})",
    )
    for (title, name), tally in tallies.items():
        yield Comparison(f"patient zero, {title}, {name}", tally.text())
