"""The model and the data that a drill is about."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import nn

from quintain.core.registry import declared_entries, entries
from quintain.core.seeds import derive_seed
from quintain.data import load_data
from quintain.data.dataset import Dataset
from quintain.data.splits import Splits
from quintain.drill.settings import Settings
from quintain.evaluate.first_weights import first_weights_notes, has_learned
from quintain.evaluate.images import drawable
from quintain.evaluate.leaks.trainers import NetBuilder, same_weights
from quintain.models.classifier import Classifier
from quintain.models.loading import is_black_box, load_classifier, load_model
from quintain.models.protocol import ClassifierLike

NUM_SEEDS = 4
"""By so many seeds it is seen whether a factory's weights may rest on the data."""


@dataclass(frozen=True)
class Subject:
    """The model and the data that a drill is about.

    Args:
        settings: What the user chose.
        device: Where the nets are.
    """

    settings: Settings
    device: torch.device

    @cached_property
    def splits(self) -> Splits:
        """The data set, of as many classes as there are."""
        splits = load_data(self.settings.data)
        return splits if self.settings.classes is None else splits.with_classes(self.settings.classes)

    @cached_property
    def test(self) -> Dataset:
        """The test split, every example of it."""
        return self.splits.split("test")

    @property
    def train_size(self) -> int:
        """Number of training examples, 0 where there is no such split."""
        return len(self.splits.train) if self.splits.train else 0

    @property
    def is_public(self) -> bool:
        """Whether the data are registered as public, so that pictures of them may be shown."""
        known = declared_entries("dataset")
        return self.settings.data in known and known[self.settings.data].is_true("is_public")

    @property
    def is_pictures(self) -> bool:
        """Whether the data are gray or RGB pictures."""
        return drawable(self.test.shape)

    @property
    def is_black_box(self) -> bool:
        """Whether the model is only queried."""
        return is_black_box(self.settings.model)

    @cached_property
    def model(self) -> ClassifierLike:
        """The model as the user gives it: with the given weights, or with those of its factory."""
        model = load_model(
            self.settings.model,
            self.settings.weights,
            **self.net_sizes,
            seed=self._seed,
        )
        if isinstance(model, Classifier):
            model.net.to(self.device)
        return model

    @cached_property
    def comes_trained(self) -> bool:
        """Whether there are trained weights: a black box, a file of weights, or a factory that gives some.

        A factory gives some if these are the same for every seed and its net is better than the majority
        class, which chance does not explain.
        """
        return self.is_black_box or self.settings.weights is not None or self.factory_is_trained

    @cached_property
    def factory_is_trained(self) -> bool:
        """Whether the factory gives the same weights for every seed, better than the majority class.

        First weights that are drawn may be better by luck, but not the same for two seeds.
        """
        return self._is_better(self._seeds[0]) and same_weights(
            *(self.fresh(seed).state_dict() for seed in self._seeds[:2])
        )

    @cached_property
    def factory_has_learned(self) -> bool:
        """Whether nets of the factory are better than the majority class for several seeds, the same or not.

        Their weights may then rest on the data, such as where the factory trains them.
        """
        return self.factory_is_trained or all(map(self._is_better, self._seeds))

    @cached_property
    def first_weights_notes(self) -> tuple[str, ...]:
        """What private training assumes where the factory gives some weights, such as those of a backbone."""
        return first_weights_notes(NetBuilder(self.settings.model, self.net_sizes), None)

    @property
    def _seeds(self) -> tuple[int, ...]:
        """Seeds of a factory: that of the model, and those by which it is seen what it gives."""
        others = (derive_seed(0, "probe", str(number)) for number in range(1, NUM_SEEDS))
        return (self._seed, *others)

    def _is_better(self, seed: int) -> bool:
        """Whether a net of the factory is better than the majority class on test examples."""
        if self.is_black_box or self.settings.model in entries("model"):
            return False
        return has_learned(self.fresh(seed), self.test)

    @property
    def build(self) -> Callable[[], Classifier]:
        """Builds a net of the model's kind, whatever its weights, on the CPU; in another process, too."""
        return partial(load_classifier, self.settings.model, None, **self.net_sizes, seed=self._seed)

    def fresh(self, seed: int) -> nn.Module:
        """Return a net with first weights by the seed, or those that the factory always gives."""
        return load_classifier(self.settings.model, None, **self.net_sizes, seed=seed).net.to(self.device)

    def check(self) -> None:
        """Refuse, before any work, a model that does not take the data.

        Raises:
            ModelError: If it is such a one.
        """
        self.model.predict(self.test.batch([0])[0])

    @property
    def _seed(self) -> int:
        """The seed of the model, where its factory draws weights."""
        return derive_seed(self.settings.seed, "drill", "net", "plain")

    @property
    def net_sizes(self) -> dict[str, int]:
        """What a net is built for: its classes, and of pictures channels and size."""
        shape: Sequence[int] = self.test.shape
        sizes = {"num_classes": self.test.num_classes}
        return {**sizes, "channels": shape[0], "size": shape[-1]} if len(shape) == 3 else sizes
