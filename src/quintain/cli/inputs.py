"""What the options of a command name: the data and its examples, the model and its device."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from quintain.cli.options import DEFAULT_DATA, DEFAULT_DEVICE, DEFAULT_MODEL
from quintain.cli.run_settings import note_model
from quintain.core.errors import ModelError, SettingError
from quintain.core.registry import get_entry
from quintain.core.seeds import derive_seed

if TYPE_CHECKING:
    import torch
    from torch import nn

    from quintain.data.dataset import Dataset
    from quintain.data.splits import Splits
    from quintain.evaluate.model import EvaluatedModel
    from quintain.models.protocol import ClassifierLike


@dataclass(frozen=True, kw_only=True)
class CallInputs:
    """The inputs of a call: each is loaded when it is first asked for.

    Args:
        data, classes, model, weights, device, seed: What these options said.
        split, limit: Which examples; where no split is named, the test split, or the first where there is
            none.
        exclude_class: A class whose examples are left out.
        each_class_seed: Seed of a draw that has every class, as a drill makes it; a random sample by ``seed``
            if not given.
        needs_float64: Whether the command trains or proves, for which a device needs float64.
        reads_layers: Whether the command reads a net's layers, so that an ONNX file is imported as a net.
    """

    data: str = DEFAULT_DATA
    classes: int | None = None
    model: str = DEFAULT_MODEL
    weights: Path | None = None
    device: str = DEFAULT_DEVICE
    seed: int = 0
    split: str = "test"
    limit: int = 0
    exclude_class: int | None = None
    each_class_seed: int | None = None
    needs_float64: bool = False
    reads_layers: bool = False

    @cached_property
    def torch_device(self) -> "torch.device":
        """The device of the model; the CPU for a black box, which computes elsewhere.

        Raises:
            SettingError: If this machine has no such device, or a black box is to be on one.
        """
        from quintain.models.devices import AUTO, CPU, choose_device
        from quintain.models.loading import is_black_box

        if self.model and not is_black_box(self.model):
            return choose_device(self.device, needs_float64=self.needs_float64)
        if self.device not in (AUTO, CPU):
            raise SettingError(
                f"--device {self.device}: PyTorch does not compute {self.model or 'anything'} here; leave "
                "--device out"
            )
        return choose_device(CPU)

    @cached_property
    def splits(self) -> "Splits":
        """The data set, of as many classes as there are.

        Raises:
            SettingError: If it has labels beyond the number of classes that was given.
        """
        from quintain.data import load_data

        splits = load_data(self.data)
        if self.classes is None:
            return splits
        parts = splits.as_dict().values()
        last = max(int(split.labels.max()) for split in parts)
        if self.classes <= last:
            from_one = min(int(split.labels.min()) for split in parts) == 1
            raise SettingError(
                f"--classes {self.classes}: {self.data} has labels up to {last}; expected at least {last + 1}"
                + (", or labels that start at 0: these start at 1, subtract 1 from them" if from_one else "")
            )
        return splits.with_classes(self.classes)

    @cached_property
    def whole_split(self) -> "Dataset":
        """The split that the examples are taken from, every example of it."""
        if self.split:
            return self.splits.split(self.split)
        splits = self.splits.as_dict()
        return splits.get("test", next(iter(splits.values())))

    @cached_property
    def sampled(self) -> "Dataset":
        """The requested examples, of every class: a random sample, in which a rare class may be missing."""
        if self.each_class_seed is not None:
            from quintain.data.class_samples import sample_each_class

            return sample_each_class(self.whole_split, self.limit, seed=self.each_class_seed)
        return self.whole_split.sample(self.limit, seed=derive_seed(self.seed, "limit"))

    @cached_property
    def examples(self) -> "Dataset":
        """The examples that the command evaluates.

        Raises:
            SettingError: If there is no such class to leave out, or nothing is left without it.
        """
        if self.exclude_class is None:
            return self.sampled
        labels, names, label = self.sampled.labels, self.sampled.class_names, self.exclude_class
        if not 0 <= label < len(names):
            raise SettingError(
                f"--target-class {label}; expected a class from 0 to {len(names) - 1}: {', '.join(names)}"
            )
        rows = [row for row, other in enumerate(labels.tolist()) if other != label]
        if not rows:
            raise SettingError(
                f"--target-class {label}: every example is of class {names[label]}; name another class"
            )
        return self.sampled.subset(rows)

    @property
    def data_options(self) -> dict[str, str | int | None]:
        """How the examples were named, so that another call evaluates the same."""
        names = ("data", "classes", "split", "limit", "seed", "exclude_class")
        return {name: getattr(self, name) for name in names}

    @cached_property
    def train(self) -> "Dataset":
        """The examples to train on."""
        return self.splits.split("train")

    @cached_property
    def model_under_test(self) -> "EvaluatedModel":
        """The user's model, with weights.

        Raises:
            SettingError: If a registered net was named without weights: an untrained one says nothing.
        """
        from quintain.evaluate.model import named_model
        from quintain.models.classifier import Classifier
        from quintain.models.loading import is_black_box, is_onnx, load_model, load_onnx_classifier

        if self.weights is None and ".py" not in self.model and not is_black_box(self.model):
            get_entry("model", self.model)
            raise SettingError(
                f"--model {self.model} without --weights is an untrained net; give --weights "
                "FILE.safetensors (quintain harden writes one), or --model path/to/file.py:factory that "
                "loads its own"
            )
        device = self.torch_device
        if self.reads_layers and self.weights is None and is_onnx(self.model):
            model: ClassifierLike = load_onnx_classifier(self.model, num_classes=self.examples.num_classes)
        else:
            model = load_model(self.model, self.weights, **self._loading)
        if isinstance(model, Classifier):
            note_model(model.hash, self._loading)
            model.net.to(device)
        return named_model(model, "model", self.weights.stem if self.weights else self.model, digest="")

    def net(self) -> "nn.Module":
        """Return a fresh net of the named kind, on the device, with weights drawn from the seed or given.

        Raises:
            ModelError: If it does not take the data, which is tried before any training, or has trainable
                parameters of another type than float32.
        """
        import torch

        from quintain.models import load_classifier

        device = self.torch_device
        model = load_classifier(self.model, self.weights, **self._loading)
        note_model(model.hash, self._loading)
        model.net.to(device)
        model.predict(self.examples.batch([0])[0])
        for name, parameter in model.net.named_parameters():
            if parameter.requires_grad and parameter.dtype != torch.float32:
                raise ModelError(
                    f"{self.model} has {name!r} in {parameter.dtype}; expected float32 to train in: return "
                    "net.float()"
                )
        return model.net

    @property
    def device_name(self) -> str:
        """The device with its maker's name, as records have it."""
        from quintain.models.devices import describe_device

        return describe_device(self.torch_device)

    @property
    def _loading(self) -> dict[str, int]:
        """What a model is loaded with, beside its name and its weights."""
        shape = self.examples.shape
        sizes = {"num_classes": self.examples.num_classes, "seed": derive_seed(self.seed, "net")}
        return {**sizes, "channels": shape[0], "size": shape[-1]} if len(shape) == 3 else sizes
