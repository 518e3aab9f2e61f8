"""Run a training and record it: time, losses, clean accuracy and the file of the weights."""

import time
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from quintain.core.errors import ModelError
from quintain.data.dataset import Dataset
from quintain.evaluate.model import EvaluatedModel, clean_counts, save_model
from quintain.results.robustness_records import TrainingRun

MAX_SHOWN = 5
"""How many classes are named."""


def train_and_test(
    net: nn.Module,
    train: Callable[[], tuple[float, ...]],
    folder: Path,
    test: Dataset,
    *,
    name: str,
    title: str,
    settings: object,
) -> tuple[EvaluatedModel, TrainingRun]:
    """Train a net, save it and test it.

    Args:
        net: Trained in place by ``train``.
        train: Does the training and returns the losses.
        folder: The run folder.
        test: Examples for the clean accuracy.
        name, title: How records name the model.
        settings: A frozen value with the settings.
    """
    clock = time.perf_counter()
    losses = train()
    seconds = time.perf_counter() - clock
    subject = save_model(net, folder, name, title, classes=test.num_classes)
    return subject, TrainingRun(
        subject.file, clean_counts(subject.model, test), losses, seconds, describe_settings(settings)
    )


def require_copyable(net: nn.Module) -> None:
    """Refuse a net whose copies cannot be trained.

    Raises:
        ModelError: If it, or a part of it, is scripted or traced by ``torch.jit``.
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in net.modules()):
        raise ModelError(
            f"the net is a {type(net).__name__}, scripted or traced by torch.jit, of which copies cannot be "
            "trained; expected the torch.nn.Module that it was made from, with its weights: "
            "net.load_state_dict(scripted.state_dict())"
        )


def unseen_class_notes(train: Dataset, test: Dataset) -> tuple[str, ...]:
    """Say which classes are tested and have no training example, which no model can learn then."""
    unseen = sorted(set(test.labels.tolist()) - set(train.labels.tolist()))
    if not unseen:
        return ()
    names = ", ".join(test.class_names[label] for label in unseen[:MAX_SHOWN])
    names += f" and {len(unseen) - MAX_SHOWN} more" if len(unseen) > MAX_SHOWN else ""
    count = int(np.isin(test.labels, unseen).sum())
    return (
        f"no training example is of class {names}, but {count} of {len(test)} test examples are: a model "
        "does not learn a class that it is never shown",
    )


def describe_settings(settings: object) -> str:
    """Describe settings in words: ``threat linf:4/255, epochs 20, batch size 128, learning rate 0.002``."""
    return ", ".join(_settings(settings))


def _settings(plan: Any) -> Iterator[str]:
    for field in fields(plan):
        value = getattr(plan, field.name)
        if hasattr(value, "spec"):
            yield f"{field.name} {value.spec}"
        elif is_dataclass(value):
            name = getattr(value, "name", "")
            yield from (f"{field.name} {name}",) if name else ()
            yield from _settings(value)
        elif value is not None:
            yield (
                f"{field.name.replace('_', ' ')} {value:.4g}"
                if isinstance(value, float)
                else f"{field.name.replace('_', ' ')} {value}"
            )
