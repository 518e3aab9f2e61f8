"""How accurate private models are at published budgets, three seeds each, all of them told.

Settings were chosen on the last 10,000 training pictures of MNIST (trained on the others) and on the X-rays'
validation part, never on a test part; what that choice would cost in epsilon is not counted. Noise and
batches are seeded, so that the figures repeat.
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import quintain as q
from benchmarks.dp.nets import mnist_cnn
from benchmarks.evasion.shared import path
from benchmarks.harness import Comparison
from quintain.dp.training.features import Features, LabeledRecords, extract_features
from quintain.dp.training.plan import PrivatePlan
from quintain.dp.training.scattering import Scattering
from quintain.models.nets import Normalise, initialize, xray_cnn
from quintain.training import Recipe, fit

SEEDS = (0, 1, 2)
DELTA = 1e-5
PLAIN_EPOCHS = 15


@dataclass(frozen=True, slots=True)
class Case:
    """A way to train.

    Args:
        name: What is trained.
        net: From the number of classes and a seed.
        batch, epochs, clip, momentum, ema, copies, shift: Of the run.
        rates: Learning rate at each epsilon.
    """

    name: str
    net: Callable[[int, int], nn.Module]
    batch: int
    epochs: int
    rates: dict[float, float]
    clip: float = 0.1
    momentum: float = 0.9
    ema: float = 0.95
    copies: int = 1
    shift: int = 0

    def plan(self, epsilon: float, records: int) -> PrivatePlan:
        """With the least noise that keeps the budget."""
        steps = round(self.epochs * records / self.batch)
        sigma = q.dp.calibrate_noise_multiplier(epsilon, DELTA, self.batch / records, steps)
        rate = self.rates[epsilon]
        return PrivatePlan(
            sigma, self.clip, self.batch, steps, rate, self.momentum, DELTA, self.ema, self.copies, self.shift
        )


def linear(classes: int, seed: int) -> nn.Module:
    """One layer on scattering features, zero at first for every seed."""
    del seed
    head = nn.Linear(3969, classes)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    return nn.Sequential(nn.Flatten(), head)


def tanh_cnn(classes: int, seed: int) -> nn.Module:
    """The small net of Papernot et al., 2020, arXiv:2007.14191, which Tramer & Boneh quote."""
    return nn.Sequential(Normalise([0.1307], [0.3081]), initialize(mnist_cnn(classes), seed))


XRAYS = Case(
    "scattering + linear", linear, batch=1024, epochs=50, rates={8.0: 8.0, 3.0: 4.0, 1.0: 2.0}, ema=0.9
)
DIGITS_LINEAR = Case(
    "scattering + linear", linear, batch=4096, epochs=120, rates={1.2: 1.5, 2.36: 3.0}, ema=0.97
)
DIGITS_CNN = Case(
    "tanh CNN, 4 shifted copies",
    tanh_cnn,
    batch=2048,
    epochs=20,
    rates={1.2: 3.0, 2.36: 4.0},
    ema=0.98,
    copies=4,
    shift=1,
)


def scattered(data: LabeledRecords) -> Features:
    """Scattering features, normalized over groups of channels of each picture by itself, which spends
    nothing.
    """
    return extract_features(nn.Sequential(Scattering(28), nn.GroupNorm(27, 81, affine=False)).eval(), data)


def in_memory(data: LabeledRecords) -> Features:
    """The pictures themselves."""
    return Features(*data.batch(torch.arange(len(data))))


def guesses(net: nn.Module, data: Features) -> Tensor:
    """Classes, (N,)."""
    with torch.no_grad():
        return torch.cat([net(x).argmax(1) for x in data.x.split(1000)])


def spread(values: list[float]) -> str:
    """Mean and all."""
    return f"{statistics.mean(values):.2%} ({', '.join(f'{value:.2%}' for value in values)})"


def scores(guess: Tensor, y: Tensor) -> tuple[float, float, float]:
    """Accuracy, sensitivity and specificity of a two-class answer."""
    right = (guess == y).double()
    return float(right.mean()), float(right[y == 1].mean()), float(right[y == 0].mean())


def trials(case: Case, epsilon: float, train: Features, test: Features) -> tuple[list[Tensor], float]:
    """Answers on the test part of one run a seed, and what a run cost."""
    classes, plan = int(train.y.max()) + 1, case.plan(epsilon, len(train))
    found, spent = [], 0.0
    for seed in SEEDS:
        net = case.net(classes, seed)
        spent = q.dp.fit(net, train, plan, seed=seed).epsilon
        found.append(guesses(net, test))
    return found, spent


def named(case: Case, epsilon: float, spent: float) -> str:
    return f"{case.name}, epsilon {spent:.3f} (aim {epsilon}) at delta {DELTA}"


def diagnosed(name: str, answers: list[Tensor], y: Tensor) -> Comparison:
    """Two classes, of which the second is the sick."""
    accuracy, sensitivity, specificity = (
        list(column) for column in zip(*(scores(guess, y) for guess in answers), strict=True)
    )
    return Comparison(
        name,
        f"accuracy {spread(accuracy)}, sensitivity {spread(sensitivity)}, specificity {spread(specificity)}",
    )


def xrays() -> Iterator[Comparison]:
    """Chest X-rays: the private linear layer, the same without noise or clip, and a plain net."""
    data = q.load_data("xrays")
    train, test = data.split("train"), data.split("test")
    y = torch.from_numpy(test.labels)
    answers = []
    for seed in SEEDS:
        net = xray_cnn(seed=seed)
        fit(net, train, Recipe(epochs=PLAIN_EPOCHS), seed=seed)
        answers.append(guesses(net, in_memory(test)))
    yield diagnosed(f"X-rays, plain CNN, {PLAIN_EPOCHS} epochs of Adam", answers, y)
    features, held = scattered(train), scattered(test)
    head = linear(2, 0)
    q.dp.fit(head, features, PrivatePlan(0.0, float("inf"), 1024, 230, 0.02, 0.9), seed=0)
    yield diagnosed("X-rays, scattering + linear without noise or clip", [guesses(head, held)], y)
    for epsilon in sorted(XRAYS.rates, reverse=True):
        answers, spent = trials(XRAYS, epsilon, features, held)
        yield diagnosed(f"X-rays, {named(XRAYS, epsilon, spent)}", answers, y)


def digits() -> Iterator[Comparison]:
    """MNIST."""
    data = q.load_data(str(path("data/MNIST/raw")))
    for case, prepared in ((DIGITS_LINEAR, scattered), (DIGITS_CNN, in_memory)):
        train, test = prepared(data.split("train")), prepared(data.split("test"))
        for epsilon in sorted(case.rates, reverse=True):
            answers, spent = trials(case, epsilon, train, test)
            right = [float((guess == test.y).double().mean()) for guess in answers]
            yield Comparison(f"MNIST, {named(case, epsilon, spent)}", f"accuracy {spread(right)}")


def run() -> Iterator[Comparison]:
    """All of it: about two hours on one core."""
    yield from xrays()
    yield from digits()
