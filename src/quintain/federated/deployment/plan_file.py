"""The training plan of a federation as a file, which its sites and its server have in common.

::

    model = "net.py:make"               # a factory beside this file, or a name of 'quintain list model'
    classes = ["normal", "pneumonia"]   # or their number, where the data does not name them
    shape = [1, 64, 64]                 # of one example
    rounds = 6

    [recipe]
    epochs = 2
    learning_rate = 0.05

Each party reads its own copy, and none is sent: what differs is refused round by round, by name.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import torch
from torch import nn

from quintain.core.errors import SettingError
from quintain.core.files import sha256_file
from quintain.core.seeds import derive_seed
from quintain.dp.accounting.guarantee import PrivacyUnit
from quintain.federated.aggregation import Aggregation
from quintain.federated.client_config import ClientConfig
from quintain.federated.config import FederatedConfig
from quintain.federated.deployment.plan_tables import (
    read_aggregation,
    read_noise,
    read_privacy,
    read_recipe,
    read_strategy,
    read_weights,
)
from quintain.federated.deployment.toml_table import place_of, prefix_errors, read_table
from quintain.federated.model_chain import ModelChain
from quintain.federated.plan import TrainingPlan
from quintain.federated.secagg.keys import Roster
from quintain.federated.toml_files import read_toml
from quintain.models.classifier import Classifier
from quintain.models.loading import load_classifier
from quintain.models.sealed_tensors import is_checkpoint

_NUMBERS = (
    "rounds",
    "clip_value",
    "scale",
    "threshold",
    "min_survivors",
    "max_corrupt",
    "clip_norm",
    "min_cohort_change",
)
KEYS: Mapping[str, object] = {
    "model": str,
    "initial_weights": Path,
    "seed": int,
    "classes": object,
    "shape": list,
    "secure": str,
    "key_id": str,
    "robust": str,
    "strategy": object,
    "recipe": dict,
    "weights": dict,
    "privacy": dict,
    "noise": dict,
    **{name: get_type_hints(FederatedConfig)[name] for name in _NUMBERS},
}
REQUIRED = ("model", "classes", "shape", "rounds")
MAX_NUMBERS = 2**28
"""Numbers in one example: four times those of a volume of 512 x 512 x 256; of more, none could be tried."""


@dataclass(frozen=True, kw_only=True)
class PlanFile:
    """What a plan's file says; nothing of the model's program has run yet.

    Args:
        path: The file.
        model: As ``load_classifier`` takes it, with the whole path of a user's file.
        initial_weights: The file of the first weights; None for those that the model has by the seed.
        seed: Of the first weights.
        num_classes: Of the data.
        class_names: Their names in order; empty where the plan says their number alone.
        shape: Of one example.
        aggregation: What sums; under ``he`` a server's, which has the key's id alone.
        config: All else.
        unit: What ``config.site_privacy`` protects.
    """

    path: Path
    model: str
    initial_weights: Path | None
    seed: int
    num_classes: int
    class_names: tuple[str, ...]
    shape: tuple[int, ...]
    aggregation: Aggregation
    config: FederatedConfig
    unit: PrivacyUnit

    @classmethod
    def load(cls, path: Path) -> "PlanFile":
        """Read a plan's file.

        Raises:
            NotFoundError: If it is missing.
            SettingError: If a key is unknown or missing, or a value is wrong.
        """
        values: dict[str, Any] = read_table(path, read_toml(path), KEYS, required=REQUIRED)
        privacy, unit = read_privacy(path, values.get("privacy"))
        names, count = _classes(path, values["classes"])
        recipe = read_recipe(path, values.get("recipe"), is_private=privacy is not None)
        noise = read_noise(path, values.get("noise"))
        unused = [name for name in ("clip_value", "scale") if name in values]
        if noise is not None and unused:
            raise SettingError(
                f"{path}: {' and '.join(unused)} beside [noise], which decides clip and grid; expected "
                "clip_norm in [noise] alone: leave the other out"
            )
        strategy = read_strategy(path, values.get("strategy"))
        weights = read_weights(path, values.get("weights"))
        with prefix_errors(path):
            config = FederatedConfig(
                local_recipe=recipe,
                strategy=strategy,
                weights=weights,
                site_privacy=privacy,
                client_noise=noise,
                **{name: values[name] for name in _NUMBERS if name in values},
            )
            aggregation = read_aggregation(
                values.get("secure", ""), values.get("key_id"), values.get("robust", "")
            )
        return cls(
            path=path,
            model=_model(path, values["model"]),
            initial_weights=values.get("initial_weights"),
            seed=values.get("seed", 0),
            num_classes=count,
            class_names=names,
            shape=_shape(path, values["shape"]),
            aggregation=aggregation,
            config=config,
            unit=unit,
        )

    @property
    def model_file(self) -> Path | None:
        """The user's file with the model's program; None if it is one of Quintain's own."""
        path = self.model.rpartition(":")[0]
        return Path(path) if path.endswith(".py") else None

    @property
    def data_text(self) -> str:
        """Which data a site trains on, as the terms of each round have it."""
        classes = ", ".join(map(repr, self.class_names)) or f"{self.num_classes} classes"
        unit = "" if self.unit == "record" else f", by {self.unit}"
        return f"samples of shape {self.shape} in [0, 1]: {classes}{unit}"

    @property
    def program_text(self) -> str:
        """Which program the model is, as the terms of each round have it beside the data."""
        program = self.model_file
        if program is None:
            return f"the model {self.model}"
        factory = self.model.rpartition(":")[2]
        return f"the model that {factory} makes in a file of SHA-256 {sha256_file(program)}"

    def build(self, roster: Roster) -> "Deployment":
        """Run the model's program and make the plan of these sites.

        Raises:
            ModelError: If the model cannot be made, does not take such examples, or cannot be trained.
            SettingError: If the plan does not fit the roster, or the first weights are a program's state.
        """
        first = self.initial_weights
        if first is not None and is_checkpoint(first):
            raise SettingError(
                f"{self.path}: initial_weights = '{first}' is the state of a server or a site; expected the "
                "weights of a model alone, such as the file that model names in server.toml"
            )
        sizes = {"channels": self.shape[0], "size": self.shape[-1]} if len(self.shape) == 3 else {}
        net = load_classifier(
            self.model,
            self.initial_weights,
            num_classes=self.num_classes,
            seed=derive_seed(self.seed, "net"),
            **sizes,
        ).net
        Classifier(net, num_classes=self.num_classes, name=self.model).predict(torch.zeros(2, *self.shape))
        with prefix_errors(self.path):
            data = f"{self.data_text}, for {self.program_text}"
            plan = TrainingPlan.for_net(roster, self.config, net, data=data)
            ClientConfig(plan, self.aggregation)  # what a client would refuse is refused before the approval
        return Deployment(plan, self.aggregation, net, self)


@dataclass(frozen=True)
class Deployment:
    """What a site or the server trains by.

    Args:
        plan: The training, for these sites.
        aggregation: What sums.
        net: The first model; a server moves it, a client does not.
        file: What it was made from.
    """

    plan: TrainingPlan
    aggregation: Aggregation
    net: nn.Module
    file: PlanFile

    @property
    def training(self) -> str:
        """The hash of the training, under which a client notes what it spends."""
        first = self.plan.strategy.common_model(self.net)
        return ModelChain(self.plan, self.aggregation, first, pinned=True).fingerprint


def load_plan(path: Path, roster: Roster) -> Deployment:
    """Read a plan's file and run the program of its model, which is a file on this machine.

    Args:
        path: ``plan.toml``.
        roster: The sites.

    Raises:
        NotFoundError: If a file is missing.
        SettingError: If a key is unknown or missing, or a value is wrong.
        ModelError: If the model cannot be made, does not take such examples, or cannot be trained.
    """
    return PlanFile.load(path).build(roster)


def _model(path: Path, spec: str) -> str:
    """A model's spec, with the whole path of a user's file."""
    file, colon, factory = spec.rpartition(":")
    if not (colon and file.endswith(".py")):
        return spec
    return f"{place_of(path, file)}:{factory}"


def _classes(path: Path, given: object) -> tuple[tuple[str, ...], int]:
    """The classes' names, if they have some, and their number."""
    if isinstance(given, list) and len(given) >= 2 and all(isinstance(one, str) and one for one in given):
        if len(set(given)) == len(given):
            return tuple(given), len(given)
    elif type(given) is int and given >= 2:
        return (), given
    raise SettingError(
        f"{path}: classes = {given!r}; expected the names of two classes or more, each once, in the order of "
        "their labels, or their number"
    )


def _shape(path: Path, given: list[object]) -> tuple[int, ...]:
    sizes = tuple(one for one in given if isinstance(one, int) and type(one) is int and one >= 1)
    if not given or len(sizes) < len(given) or math.prod(sizes) > MAX_NUMBERS:
        raise SettingError(
            f"{path}: shape = {given!r}; expected that of one example, such as [1, 64, 64] (channels, "
            f"height, width), of at most {MAX_NUMBERS:,} numbers"
        )
    return sizes
