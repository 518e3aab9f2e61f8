"""Measure the accuracy of private models at published budgets, with three seeds each.

Settings were chosen on the last 10,000 training images of MNIST (trained on the others) and on the X-rays'
validation split, never on a test split; what that choice would cost in epsilon is not counted. Noise and
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
from quintain.models.nets import Normalize, initialize, xray_cnn
from quintain.training import Recipe, fit

SEEDS = (0, 1, 2)
DELTA = 1e-5
PLAIN_EPOCHS = 15


@dataclass(frozen=True, slots=True)
class Case:
    """A net with its training settings.

    Args:
        name: Name of the net.
        net: Makes the net, given the number of classes and a seed.
        batch, epochs, clip, momentum, ema, copies, shift: Settings of the run, see ``PrivatePlan``.
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
        """Return the plan with the least noise that keeps the budget."""
        steps = round(self.epochs * records / self.batch)
        sigma = q.dp.calibrate_noise_multiplier(epsilon, DELTA, self.batch / records, steps)
        rate = self.rates[epsilon]
        return PrivatePlan(
            sigma, self.clip, self.batch, steps, rate, self.momentum, DELTA, self.ema, self.copies, self.shift
        )


def linear(classes: int, seed: int) -> nn.Module:
    """Return one linear layer on scattering features, initialized to zero for every seed."""
    del seed
    head = nn.Linear(3969, classes)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    return nn.Sequential(nn.Flatten(), head)


def tanh_cnn(classes: int, seed: int) -> nn.Module:
    """Return the small net of Papernot et al., 2020, arXiv:2007.14191, which Tramer & Boneh quote."""
    return nn.Sequential(Normalize([0.1307], [0.3081]), initialize(mnist_cnn(classes), seed))


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


def scattering_features(data: LabeledRecords) -> Features:
    """Return scattering features, normalized within each image, which costs no privacy."""
    return extract_features(nn.Sequential(Scattering(28), nn.GroupNorm(27, 81, affine=False)).eval(), data)


def in_memory(data: LabeledRecords) -> Features:
    """Return the images themselves as features."""
    return Features(*data.batch(torch.arange(len(data))))


def predict(net: nn.Module, data: Features) -> Tensor:
    """Return the predicted classes, (N,)."""
    with torch.no_grad():
        return torch.cat([net(x).argmax(1) for x in data.x.split(1000)])


def mean_and_all(values: list[float]) -> str:
    """Return the mean and all values as text."""
    return f"{statistics.mean(values):.2%} ({', '.join(f'{value:.2%}' for value in values)})"


def rates_of(predicted: Tensor, y: Tensor) -> tuple[float, float, float]:
    """Return accuracy, sensitivity and specificity of two-class predictions."""
    correct = (predicted == y).double()
    return float(correct.mean()), float(correct[y == 1].mean()), float(correct[y == 0].mean())


def trials(case: Case, epsilon: float, train: Features, test: Features) -> tuple[list[Tensor], float]:
    """Return the test predictions of one run for each seed, and the epsilon of a run."""
    classes, plan = int(train.y.max()) + 1, case.plan(epsilon, len(train))
    predictions, spent = [], 0.0
    for seed in SEEDS:
        net = case.net(classes, seed)
        spent = q.dp.fit(net, train, plan, seed=seed).epsilon
        predictions.append(predict(net, test))
    return predictions, spent


def name_of(case: Case, epsilon: float, spent: float) -> str:
    return f"{case.name}, epsilon {spent:.3f} (target {epsilon}) at delta {DELTA}"


def compare_diagnoses(name: str, predictions: list[Tensor], y: Tensor) -> Comparison:
    """Return accuracy, sensitivity and specificity over all seeds; class 1 is the illness."""
    accuracy, sensitivity, specificity = (
        list(column) for column in zip(*(rates_of(predicted, y) for predicted in predictions), strict=True)
    )
    return Comparison(
        name,
        f"accuracy {mean_and_all(accuracy)}, sensitivity {mean_and_all(sensitivity)}, "
        f"specificity {mean_and_all(specificity)}",
    )


def xrays() -> Iterator[Comparison]:
    """Measure on chest X-rays: the private linear layer, the same without noise and clip, and a plain net."""
    data = q.load_data("xrays")
    train, test = data.split("train"), data.split("test")
    y = torch.from_numpy(test.labels)
    predictions = []
    for seed in SEEDS:
        net = xray_cnn(seed=seed)
        fit(net, train, Recipe(epochs=PLAIN_EPOCHS), seed=seed)
        predictions.append(predict(net, in_memory(test)))
    yield compare_diagnoses(f"X-rays, plain CNN, {PLAIN_EPOCHS} epochs of Adam", predictions, y)
    features, test_features = scattering_features(train), scattering_features(test)
    head = linear(2, 0)
    q.dp.fit(head, features, PrivatePlan(0.0, float("inf"), 1024, 230, 0.02, 0.9), seed=0)
    yield compare_diagnoses(
        "X-rays, scattering + linear without noise or clip", [predict(head, test_features)], y
    )
    for epsilon in sorted(XRAYS.rates, reverse=True):
        predictions, spent = trials(XRAYS, epsilon, features, test_features)
        yield compare_diagnoses(f"X-rays, {name_of(XRAYS, epsilon, spent)}", predictions, y)


def digits() -> Iterator[Comparison]:
    """Measure on MNIST."""
    data = q.load_data(str(path("data/MNIST/raw")))
    for case, prepare in ((DIGITS_LINEAR, scattering_features), (DIGITS_CNN, in_memory)):
        train, test = prepare(data.split("train")), prepare(data.split("test"))
        for epsilon in sorted(case.rates, reverse=True):
            predictions, spent = trials(case, epsilon, train, test)
            accuracies = [float((predicted == test.y).double().mean()) for predicted in predictions]
            yield Comparison(
                f"MNIST, {name_of(case, epsilon, spent)}", f"accuracy {mean_and_all(accuracies)}"
            )


def run() -> Iterator[Comparison]:
    """Measure all; this takes about two hours on one core."""
    yield from xrays()
    yield from digits()
