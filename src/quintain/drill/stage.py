"""What a step of the drill can see: the data, the settings and what earlier steps left behind."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch

from quintain.core.errors import RunFolderError
from quintain.core.files import sha256_file
from quintain.core.progress import Progress
from quintain.core.seeds import derive_seed
from quintain.data import load_data
from quintain.data.dataset import Dataset
from quintain.data.splits import Splits
from quintain.drill.run import RunFolder
from quintain.drill.settings import Scale, Settings
from quintain.evaluate.model import EvaluatedModel
from quintain.models import load_classifier
from quintain.models.nets import xray_cnn
from quintain.results.artifacts import ModelFile
from quintain.results.robustness_records import AttackedModel, AttackResult, HardenResult, TrainResult
from quintain.threats import Linf

Body = TypeVar("Body")

SIZES = (2, 4, 8)
"""Linf sizes that are attacked and certified, in 255ths."""

PRIMARY_MODEL = "certified"
"""The model that the drill delivers for robustness."""


@dataclass(frozen=True)
class Stage:
    """Handed to every step.

    Args:
        run: The run folder.
        settings: What the user chose.
        scale: How much of everything.
        progress: Shows bars.
    """

    run: RunFolder
    settings: Settings
    scale: Scale
    progress: Progress

    @cached_property
    def splits(self) -> Splits:
        """The bundled X-rays."""
        return load_data("xrays")

    @cached_property
    def train(self) -> Dataset:
        """X-rays to learn from."""
        return self.splits.split("train")

    @cached_property
    def test(self) -> Dataset:
        """X-rays that every claim is about: all, or a fixed draw of them in the short form."""
        return self.splits.split("test").sample(self.scale.test, seed=derive_seed(0, "short test"))

    @property
    def folder(self) -> Path:
        """The run folder's path."""
        return self.run.path

    @property
    def threats(self) -> list[Linf]:
        """The sizes asked about."""
        return [Linf(size / 255) for size in SIZES]

    def seed(self, *place: str) -> int:
        """The seed of one place in the drill."""
        return derive_seed(self.settings.seed, "drill", *place)

    def net(self, *place: str) -> torch.nn.Module:
        """A fresh small net; its first weights follow from the seed and the place."""
        return xray_cnn(seed=self.seed("net", *place))

    def subject(self, file: ModelFile) -> EvaluatedModel:
        """A model that an earlier step stored.

        Raises:
            RunFolderError: If its file is gone or changed.
        """
        path = self.folder / file.path
        if not path.exists() or sha256_file(path) != file.sha256:
            raise RunFolderError(f"{path} is missing or changed since the run stored it; delete the run folder and drill again")
        model = load_classifier("xray-cnn", path, num_classes=2)
        return EvaluatedModel(model, file)

    def trained(self) -> TrainResult:
        """The plain model's record."""
        return self._body("train", TrainResult)

    def hardened(self) -> HardenResult:
        """The hardened models' record."""
        return self._body("harden", HardenResult)

    def attacks(self) -> dict[str, AttackedModel]:
        """What attacks did to each model so far."""
        return {one.model: one for one in (*self._body("attack", AttackResult).models, *self.hardened().models)}

    def _body(self, step: str, kind: type[Body]) -> Body:
        body = self.run.record(step).result
        if not isinstance(body, kind):
            raise RunFolderError(f"{self.run.file(step)} is no result of the step {step}; delete it and drill again")
        return body
