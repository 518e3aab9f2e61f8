"""What a step of the drill has at hand: the data, the settings and the results of earlier steps."""

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
from quintain.drill.run_folder import RunFolder
from quintain.drill.settings import Settings, Workload
from quintain.evaluate.model import EvaluatedModel
from quintain.models import load_classifier
from quintain.models.nets import xray_cnn
from quintain.results.artifacts import ModelFile
from quintain.results.robustness_records import AttackedModel, AttackResult, HardenResult, TrainResult
from quintain.threats import Linf

Body = TypeVar("Body")

LINF_EPS_255 = (2, 4, 8)
"""Linf eps that are attacked and certified, in 255ths."""

PRIMARY_MODEL = "certified"
"""The model that requirements on robustness are about."""

SMOOTHED_MODEL = "noise"
"""The model that is certified and attacked as a smoothed one."""


@dataclass(frozen=True)
class DrillContext:
    """The context of a drill, which every step gets.

    Args:
        run: The run folder.
        settings: What the user chose.
        workload: How much of everything.
        progress: Shows bars.
        device: Where the nets are.
    """

    run: RunFolder
    settings: Settings
    workload: Workload
    progress: Progress
    device: torch.device

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
        return self.splits.split("test").sample(
            self.workload.test_examples, seed=derive_seed(0, "short test")
        )

    @property
    def folder(self) -> Path:
        """The run folder's path."""
        return self.run.path

    @property
    def threats(self) -> list[Linf]:
        """The threats that are attacked and certified."""
        return [Linf(size / 255) for size in LINF_EPS_255]

    def seed(self, *place: str) -> int:
        """Return the seed of one place in the drill."""
        return derive_seed(self.settings.seed, "drill", *place)

    def net(self, *place: str) -> torch.nn.Module:
        """Return a fresh small net; its first weights follow from the seed and the place."""
        return xray_cnn(seed=self.seed("net", *place)).to(self.device)

    def subject(self, file: ModelFile) -> EvaluatedModel:
        """Load a model that an earlier step stored.

        Raises:
            RunFolderError: If its file is gone or changed.
        """
        path = self.folder / file.path
        if not path.exists() or sha256_file(path) != file.sha256:
            raise RunFolderError(
                f"{path} is missing or changed since the run stored it; delete the run folder and drill again"
            )
        model = load_classifier("xray-cnn", path, num_classes=2)
        model.net.to(self.device)
        return EvaluatedModel(model, file)

    def trained(self) -> TrainResult:
        """Return the result of the step that trains the plain model."""
        return self._body("train", TrainResult)

    def hardened(self) -> HardenResult:
        """Return the result of the step that trains the hardened models."""
        return self._body("harden", HardenResult)

    def attacks(self) -> dict[str, AttackedModel]:
        """Return the attack results of each model so far."""
        return {
            one.model: one for one in (*self._body("attack", AttackResult).models, *self.hardened().models)
        }

    def _body(self, step: str, kind: type[Body]) -> Body:
        body = self.run.record(step).result
        if not isinstance(body, kind):
            raise RunFolderError(
                f"{self.run.file(step)} is no result of the step {step}; delete it and drill again"
            )
        return body
