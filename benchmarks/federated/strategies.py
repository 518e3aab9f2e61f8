"""How the strategies of federated training compare on the X-rays: a table in docs/federated.md.

Five sites by Dirichlet 0.5, as ``quintain federate`` trains them: twelve rounds of one epoch, public weights
cut so that no update stands out, and one site that drops out in the middle round. Sums are in the clear,
which gives the models of a secure sum, bit for bit, in less time.

The protocol. The settings of ``TRIED`` are compared on the validation split (524 X-rays) with three seeds; of
each strategy the one with the fewest errors is trained with four more, beside the pooled model. Those
strategies that could be the default are trained with ten further seeds, which chose no setting. The test
split (624 X-rays) is used with other seeds again, those of ``benchmarks.federated.accuracy``, and for no
choice. All takes some 25 minutes of processor time.
"""

import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats
from torch import nn

from benchmarks.federated.accuracy import (
    NUM_SITES,
    SEEDS,
    Floats,
    auc,
    gap,
    mean_and_interval,
    rates,
    scores_of,
)
from benchmarks.harness import Comparison
from quintain.core.seeds import derive_seed
from quintain.data import load_data
from quintain.data.dataset import Dataset
from quintain.evaluate.federation_defaults import ALPHA, LOCAL_RECIPE, LOCAL_SGD, MAX_CORRUPT, NUM_ROUNDS
from quintain.federated import FederatedConfig, PlainMean, Strategy, partition, simulate
from quintain.federated.secagg.weights import capped_weights
from quintain.federated.strategies.fedadam import FedAdam
from quintain.federated.strategies.fedavg import FedAvg
from quintain.federated.strategies.fedavgm import FedAvgM
from quintain.federated.strategies.fedprox import FedProx
from quintain.federated.strategies.fedyogi import FedYogi
from quintain.federated.strategies.scaffold import Scaffold
from quintain.federated.transport import DropoutStage
from quintain.models import xray_cnn
from quintain.models.classifier import Classifier
from quintain.training import Recipe, fit

FIRST_SEEDS = (100, 103, 106)
VALIDATION_SEEDS = tuple(range(100, 107))
FURTHER_SEEDS = tuple(range(110, 120))
CANDIDATES = ("fedavg", "fedavgm", "fedyogi")


@dataclass(frozen=True, slots=True)
class Setting:
    """A strategy, and how its sites train in a round.

    Args:
        strategy: With its arguments.
        recipe: Of the local training.
    """

    strategy: Strategy
    recipe: Recipe = LOCAL_RECIPE

    def __str__(self) -> str:
        steps = (
            "" if self.recipe == LOCAL_RECIPE else f", {self.recipe.optimizer} {self.recipe.learning_rate:g}"
        )
        momentum = f" with momentum {self.recipe.momentum:g}" if self.recipe.momentum else ""
        return f"{self.strategy}{steps}{momentum}"


ADAPTIVE: tuple[Mapping[str, float], ...] = (
    {"learning_rate": 0.01, "beta1": 0.9},
    {"learning_rate": 0.03, "beta1": 0.9},
    {"learning_rate": 0.1, "beta1": 0.9, "tau": 0.01},
    {"learning_rate": 0.01, "beta1": 0.5},
    {"learning_rate": 0.03, "beta1": 0.5, "tau": 0.01},
)

TRIED: Mapping[str, tuple[Setting, ...]] = {
    "fedavg": (Setting(FedAvg()),),
    "fedavg, plain SGD at the sites": tuple(
        Setting(FedAvg(), replace(LOCAL_SGD, learning_rate=rate)) for rate in (0.05, 0.1, 0.2)
    ),
    "fedavgm": (Setting(FedAvgM()),),
    "fedprox": tuple(Setting(FedProx(mu)) for mu in (0.01, 0.1, 1.0)),
    "fedadam": tuple(Setting(FedAdam(**one)) for one in ADAPTIVE),
    "fedyogi": tuple(Setting(FedYogi(**one)) for one in ADAPTIVE),
    "scaffold": tuple(
        Setting(Scaffold(), replace(LOCAL_SGD, learning_rate=rate)) for rate in (0.05, 0.07, 0.1, 0.2)
    ),
}


@dataclass(frozen=True, slots=True)
class Trained:
    """What one model says of a split.

    Args:
        scores: Logit of pneumonia less that of a healthy chest, for each picture (N,).
        seconds: Processor time of its training.
    """

    scores: Floats
    seconds: float

    def wrong(self, data: Dataset) -> int:
        """Return how many pictures it gets wrong."""
        return int(((self.scores > 0) != (data.labels == 1)).sum())

    def cross_entropy(self, data: Dataset) -> float:
        """Return its mean cross-entropy."""
        return float(np.logaddexp(0, np.where(data.labels == 1, -self.scores, self.scores)).mean())


def run() -> Iterator[Comparison]:
    """All settings in validation, the best of each strategy with more seeds, and on the test split."""
    validation, test = (load_data("xrays").split(name) for name in ("val", "test"))
    chosen = {}
    for name, settings in TRIED.items():
        found = {one: [train(one, seed, validation) for seed in FIRST_SEEDS] for one in settings}
        for setting, models in found.items():
            yield Comparison(f"validation, {setting}", in_validation(models, validation))
        chosen[name] = min(settings, key=lambda one: sum(model.wrong(validation) for model in found[one]))
    for name, setting in (("pooled", None), *chosen.items()):
        models = [train(setting, seed, validation) for seed in VALIDATION_SEEDS]
        yield Comparison(
            f"validation of {name}, {setting or LOCAL_RECIPE}", in_validation(models, validation)
        )
    further = {
        name: [train(chosen.get(name), seed, validation) for seed in FURTHER_SEEDS]
        for name in ("pooled", *CANDIDATES)
    }
    for name, models in further.items():
        yield Comparison(f"further validation of {name}", in_validation(models, validation))
    averaged, *others = CANDIDATES
    for name in others:
        text = paired(further[averaged], further[name], validation)
        yield Comparison(f"further validation, {averaged} less {name}", text)
    pooled = [train(None, seed, test).scores for seed in SEEDS]
    yield Comparison("test, pooled", rates(pooled, test.labels))
    for name, setting in chosen.items():
        scores = [train(setting, seed, test).scores for seed in SEEDS]
        yield Comparison(f"test, {name}", f"{rates(scores, test.labels)}; {behind(pooled, scores, test)}")


def train(setting: Setting | None, seed: int, data: Dataset) -> Trained:
    """Train a common model, or, without a setting, one on all data in one place, and ask it about a split."""
    start, net = time.process_time(), xray_cnn(seed=seed)
    examples = load_data("xrays").split("train")
    if setting is None:
        as_long = replace(LOCAL_RECIPE, epochs=NUM_ROUNDS * LOCAL_RECIPE.epochs)
        fit(net, examples, as_long, seed=derive_seed(seed, "pooled"))
    else:
        train_together(net, setting, examples, seed)
    return Trained(scores_of(Classifier(net, num_classes=2), data), time.process_time() - start)


def train_together(net: nn.Module, setting: Setting, examples: Dataset, seed: int) -> None:
    """Train a net in place as ``quintain federate`` does, by another setting."""
    sites = partition(examples, NUM_SITES, alpha=ALPHA, seed=derive_seed(seed, "split")).sites
    plan = FederatedConfig(NUM_ROUNDS, setting.recipe, max_corrupt=MAX_CORRUPT, strategy=setting.strategy)
    sizes = {name: len(data) for name, data in sites.items()}
    weights = capped_weights(sizes, plan.terms(NUM_SITES)[1], MAX_CORRUPT)
    simulate(
        sites,
        net,
        replace(plan, weights=weights),
        seed=derive_seed(seed, "federate"),
        aggregation=PlainMean(),
        dropouts={NUM_ROUNDS // 2: {list(sites)[NUM_SITES // 2]: DropoutStage.MASKED}},
    )


def in_validation(models: list[Trained], data: Dataset) -> str:
    """Return the errors of the models of several seeds."""
    wrong = [model.wrong(data) for model in models]
    area = statistics.mean(auc(model.scores, data.labels) for model in models)
    return (
        f"{statistics.mean(wrong):.1f} of {len(data)} wrong ({', '.join(map(str, wrong))}), cross-entropy "
        f"{statistics.mean(model.cross_entropy(data) for model in models):.3f}, area under the ROC curve "
        f"{area:.3f}, {statistics.mean(model.seconds for model in models):.0f} s of processor time a training"
    )


def paired(first: list[Trained], second: list[Trained], data: Dataset) -> str:
    """Return by how much the errors and the cross-entropies of two lists of models differ, seed by seed."""
    pairs = list(zip(first, second, strict=True))
    errors = [float(one.wrong(data) - other.wrong(data)) for one, other in pairs]
    entropies = [one.cross_entropy(data) - other.cross_entropy(data) for one, other in pairs]
    return (
        f"{mean_and_interval(errors)} errors, Wilcoxon's p = {stats.wilcoxon(errors).pvalue:.2g}; "
        f"cross-entropy higher in {sum(one > 0 for one in entropies)} of {len(pairs)} seeds, "
        f"Wilcoxon's p = {stats.wilcoxon(entropies).pvalue:.2g}"
    )


def behind(pooled: list[Floats], scores: list[Floats], data: Dataset) -> str:
    """Return by how many points the pooled models are ahead of those of the same seeds."""
    ill = data.labels == 1
    gaps = [
        gap((first > 0) == ill, (second > 0) == ill) for first, second in zip(pooled, scores, strict=True)
    ]
    return f"pooled is ahead by {mean_and_interval(gaps)} points"
