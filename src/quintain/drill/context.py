"""What a step of the drill has at hand: the data, the settings and the results of earlier steps."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch

from quintain.attacks import FGSM, Quick
from quintain.attacks.base import access_of
from quintain.core.errors import RunFolderError
from quintain.core.files import sha256_file
from quintain.core.progress import Progress
from quintain.core.registry import get_entry
from quintain.core.seeds import derive_seed
from quintain.core.threat_specs import threat_name
from quintain.data.dataset import Dataset
from quintain.drill.run_folder import RunFolder
from quintain.drill.settings import Settings, Workload
from quintain.drill.subject import Subject
from quintain.drill.threat_sizes import sizes_of
from quintain.evaluate.evasion.defaults import default_attacks
from quintain.evaluate.evasion.job import AttackFn
from quintain.evaluate.model import EvaluatedModel
from quintain.models.classifier import Classifier
from quintain.models.weights import load_weights
from quintain.results.artifacts import ModelFile
from quintain.results.records import Claim
from quintain.results.robustness_records import AttackedModel, AttackResult, HardenResult, TrainResult
from quintain.threats import parse
from quintain.threats.threat import Threat

Body = TypeVar("Body")

TEST_SEED = derive_seed(0, "short test")
"""Of the draw of test examples, which is the same in every drill."""

GIVEN_MODEL, PLAIN_MODEL = "given", "plain"
"""The model that the user gives, or the one that is trained plainly in its place."""

ADVERSARIAL_MODEL, CERTIFIED_MODEL, SMOOTHED_MODEL = "adversarial", "certified", "noise"
"""The hardened models; the last one is certified and attacked as a smoothed one."""


@dataclass(frozen=True)
class DrillContext:
    """The context of a drill, which every step gets.

    Args:
        run: The run folder.
        settings: What the user chose.
        workload: How much of everything.
        subject: The model and the data.
        examples: Examples to learn from, None where there are none, and those that every claim is about.
        planned: Steps that are done, as far as is known before.
        progress: Shows bars.
        processes: How many processes may compute at once.
        is_late: Whether the step has taken much longer by now than all of it was estimated to take.
    """

    run: RunFolder
    settings: Settings
    workload: Workload
    subject: Subject
    examples: tuple[Dataset | None, Dataset]
    planned: frozenset[str]
    progress: Progress
    processes: int = 1
    is_late: Callable[[], bool] = lambda: False

    @property
    def train(self) -> Dataset:
        """Examples to learn from.

        Raises:
            DataError: If there is no such split.
        """
        return self.examples[0] or self.subject.splits.split("train")

    @property
    def test(self) -> Dataset:
        """Examples that every claim is about: all, or a fixed draw of them."""
        return self.examples[1]

    @property
    def folder(self) -> Path:
        """The run folder's path."""
        return self.run.path

    @property
    def data_options(self) -> dict[str, str | int | None]:
        """How the test examples were named and drawn, so that a replay evaluates the same."""
        chosen = self.settings
        return {
            "data": chosen.data,
            "classes": chosen.classes,
            "split": "test",
            "limit": len(self.test),
            "each_class_seed": TEST_SEED,
        }

    @cached_property
    def threat(self) -> Threat:
        """The threat that is defended against."""
        found = parse(self.settings.threat)
        assert isinstance(found, Threat)
        return found

    @cached_property
    def threats(self) -> tuple[Threat, ...]:
        """The threats that are attacked and certified: half the size, the size and its double."""
        return sizes_of(self.threat)

    @property
    def attacks(self) -> Mapping[str, AttackFn]:
        """The attacks that are run on every model of the drill, by name."""
        kind = threat_name(self.threat.spec)
        access = access_of(self.subject.model.access)
        if access == "gradients" and kind in Quick.supports:
            quick = Quick(steps=self.workload.attack_steps, queries=self.workload.attack_queries)
            return {**({"fgsm": FGSM()} if kind in FGSM.supports else {}), "quick": quick}
        queries = {} if access == "gradients" else {"queries": self.workload.black_box_queries}
        return {name: get_entry("attack", name).build(**queries) for name in default_attacks(access, kind)}

    def seed(self, *place: str) -> int:
        """Return the seed of one place in the drill."""
        return derive_seed(self.settings.seed, "drill", *place)

    def net(self, *place: str) -> torch.nn.Module:
        """Return a fresh net; its first weights follow from the seed and the place."""
        return self.subject.fresh(self.seed("net", *place))

    def stored_model(self, file: ModelFile) -> EvaluatedModel:
        """Load a model that an earlier step stored, or the user's own.

        Raises:
            RunFolderError: If its file is gone or changed.
        """
        if file.name == GIVEN_MODEL:
            return self._given_model(file)
        path = self.folder / file.path
        if not path.exists() or sha256_file(path) != file.sha256:
            raise RunFolderError(
                f"{path} is missing or changed since the run stored it; delete the run folder and drill again"
            )
        net = self.net(file.name)
        load_weights(net, path)
        model = Classifier(net.eval(), num_classes=self.test.num_classes, name=self.settings.model)
        return EvaluatedModel(model, file, self.subject.build)

    def primary_model(self, trained: Collection[str]) -> str:
        """Return the model that requirements which name no model are about.

        That is the user's own, where it comes trained; else the hardened one that may be certified; else the
        plain one.

        Args:
            trained: Names of the models that the drill trained; empty where none was to be hardened.
        """
        if self.subject.comes_trained:
            return GIVEN_MODEL
        if not trained:
            return PLAIN_MODEL
        return CERTIFIED_MODEL if CERTIFIED_MODEL in trained else ADVERSARIAL_MODEL

    def claims_beside_given(self, claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
        """Return claims on a model that the drill made itself: not primary where the user gives a model."""
        given = self.subject.comes_trained
        return tuple(replace(claim, primary=claim.primary and not given) for claim in claims)

    def trained(self) -> TrainResult:
        """Return the result of the step that trains the plain model, or looks at the given one."""
        return self._body("train", TrainResult)

    def hardened(self) -> HardenResult | None:
        """Return the result of the step that trains the hardened models, None where it was not done."""
        return self._body("harden", HardenResult) if self.run.has("harden", HardenResult) else None

    @property
    def is_certified_later(self) -> bool:
        """Whether a later step certifies the models, and makes the claims on robust accuracy."""
        return "certify" in self.planned and not self.run.is_finished("certify")

    def attacked(self) -> dict[str, AttackedModel]:
        """Return the attack results of each model so far."""
        plain = self._body("attack", AttackResult).models if self.run.has("attack", AttackResult) else ()
        hardened = self.hardened()
        return {one.model: one for one in (*plain, *(hardened.models if hardened else ()))}

    def _given_model(self, file: ModelFile) -> EvaluatedModel:
        model = self.subject.model
        if model.hash != file.model_hash:
            raise RunFolderError(
                f"{self.settings.model} is another model than when the run was begun; give the same model "
                "and weights, or another --out"
            )
        return EvaluatedModel(model, file, self.subject.build)

    def _body(self, step: str, kind: type[Body]) -> Body:
        body = self.run.record(step).result
        if not isinstance(body, kind):
            raise RunFolderError(
                f"{self.run.file(step)} is no result of the step {step}; delete it and drill again"
            )
        return body
