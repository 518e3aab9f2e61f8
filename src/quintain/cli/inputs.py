"""Load what the options of a command name: the data and its examples, the model and its device."""

from dataclasses import dataclass
from functools import cached_property, partial
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
    """The inputs of a call, each of which is loaded when it is first read.

    Args:
        data, classes, model, weights, device, seed: The values of these options.
        split: The split that examples are taken from; if empty, the test split, or the first if there is no
            test split.
        limit: Number of examples; 0 for all.
        exclude_class: Label whose examples are left out: a targeted attack's ``--target-class``.
        each_class_seed: Seed of a sample that has every class, as a drill takes it; without it, the sample is
            random by ``seed``, and may miss a rare class.
        needs_float64: Whether the command computes in float64 on the device, as training and proofs do.
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
        """All splits of the data, with ``classes`` as their number of classes if it was given.

        Raises:
            SettingError: If a label is not below ``classes``.
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
        """All examples of the split that the examples are taken from."""
        if self.split:
            return self.splits.split(self.split)
        splits = self.splits.as_dict()
        return splits.get("test", next(iter(splits.values())))

    @cached_property
    def sampled(self) -> "Dataset":
        """The requested number of examples, before ``exclude_class`` takes any out."""
        if self.each_class_seed is not None:
            from quintain.data.class_samples import sample_each_class

            return sample_each_class(self.whole_split, self.limit, seed=self.each_class_seed)
        return self.whole_split.sample(self.limit, seed=derive_seed(self.seed, "limit"))

    @cached_property
    def examples(self) -> "Dataset":
        """The examples that the command evaluates: ``sampled`` without those of ``exclude_class``.

        Raises:
            SettingError: If there is no such class, or no example of another.
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
        """The values by which another call evaluates the same examples."""
        names = ("data", "classes", "split", "limit", "seed", "exclude_class")
        return {name: getattr(self, name) for name in names}

    @cached_property
    def train(self) -> "Dataset":
        """The examples to train on."""
        return self.splits.split("train")

    @cached_property
    def model_under_test(self) -> "EvaluatedModel":
        """The model that the command evaluates, with its weights, on the device.

        Raises:
            SettingError: If a registered net was named without weights, so that it is untrained.
        """
        from quintain.evaluate.model import named_model
        from quintain.models.classifier import Classifier
        from quintain.models.loading import (
            is_black_box,
            is_onnx,
            load_classifier,
            load_model,
            load_onnx_classifier,
        )

        if self.weights is None and ".py" not in self.model and not is_black_box(self.model):
            get_entry("model", self.model)
            raise SettingError(
                f"--model {self.model} without --weights is an untrained net; give --weights "
                "FILE.safetensors (quintain harden writes one), or --model path/to/file.py:factory that "
                "loads its own"
            )
        device = self.torch_device
        build = partial(load_classifier, self.model, None, **self._loading)
        if self.reads_layers and self.weights is None and is_onnx(self.model):
            build = partial(load_onnx_classifier, self.model, num_classes=self.examples.num_classes)
            model: ClassifierLike = build()
        else:
            model = load_model(self.model, self.weights, **self._loading)
        if isinstance(model, Classifier):
            note_model(model.hash, self._loading)
            model.net.to(device)
        title = self.weights.stem if self.weights else self.model
        return named_model(model, "model", title, build=build)

    def net(self) -> "nn.Module":
        """Return a new net of the named model on the device, with the given weights or those of ``seed``.

        Raises:
            ModelError: If it fails on an example of the data, or a trainable parameter is not float32.
        """
        import torch

        from quintain.models import load_classifier

        device = self.torch_device
        model = load_classifier(self.model, self.weights, **self._loading)
        note_model(model.hash, self._loading)
        model.net.to(device)
        # a net that does not take the data is refused here, before any training
        model.predict(self.examples.batch([0])[0])
        for name, parameter in model.net.named_parameters():
            if parameter.requires_grad and parameter.dtype != torch.float32:
                raise ModelError(
                    f"{self.model} has {name!r} in {parameter.dtype}; expected float32 to train in: return "
                    "net.float()"
                )
        return model.net

    @cached_property
    def first_weights_notes(self) -> tuple[str, ...]:
        """What private training assumes where the factory gives weights of its own; see the function."""
        from quintain.evaluate.first_weights import first_weights_notes
        from quintain.evaluate.leaks.trainers import NetBuilder

        return first_weights_notes(NetBuilder(self.model, self.net_sizes), self.splits.test)

    @property
    def processes(self) -> int:
        """How many processes may compute at once: as many as PyTorch may use threads (OMP_NUM_THREADS)."""
        import torch

        return torch.get_num_threads()

    @property
    def device_name(self) -> str:
        """The name of the device in records, which has the maker's name of an accelerator."""
        from quintain.models.devices import describe_device

        return describe_device(self.torch_device)

    @property
    def net_sizes(self) -> dict[str, int]:
        """What a net is built for: its classes, and of images (C, H, W) channels and size."""
        shape = self.examples.shape
        sizes = {"num_classes": self.examples.num_classes}
        return {**sizes, "channels": shape[0], "size": shape[-1]} if len(shape) == 3 else sizes

    @property
    def _loading(self) -> dict[str, int]:
        """The arguments that a model is loaded with."""
        return {**self.net_sizes, "seed": derive_seed(self.seed, "net")}
