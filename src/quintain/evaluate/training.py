"""A training run as a result: time, losses, clean accuracy and the file it lies in."""

import time
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from torch import nn

from quintain.data.dataset import Dataset
from quintain.evaluate.subject import Subject, clean_tally, stored
from quintain.results.robustness_records import TrainingRun


def trained(
    net: nn.Module,
    train: Callable[[], tuple[float, ...]],
    folder: Path,
    test: Dataset,
    *,
    name: str,
    title: str,
    plan: object,
) -> tuple[Subject, TrainingRun]:
    """Train a net, store it and test it.

    Args:
        net: Trained in place by ``train``.
        train: Does it, and gives the losses.
        folder: The run folder.
        test: Examples for the clean accuracy.
        name, title: For the records.
        plan: A frozen value of settings.
    """
    clock = time.perf_counter()
    losses = train()
    seconds = time.perf_counter() - clock
    subject = stored(net, folder, name, title, classes=test.classes)
    return subject, TrainingRun(subject.file, clean_tally(subject.model, test), losses, seconds, told(plan))


def told(plan: object) -> str:
    """Describe a plan's settings: ``threat linf:4/255, epochs 20, batch size 128, learning rate 0.002``."""
    return ", ".join(_settings(plan))


def _settings(plan: Any) -> Iterator[str]:
    for field in fields(plan):
        value = getattr(plan, field.name)
        if hasattr(value, "token"):
            yield f"{field.name} {value.token}"
        elif is_dataclass(value):
            yield from _settings(value)
        else:
            yield f"{field.name.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{field.name.replace('_', ' ')} {value}"
