from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import quintain as q
from quintain.attacks.outcome import Model
from quintain.attacks.perturbation import content_hashes
from quintain.core.progress import Progress, no_progress
from quintain.data import from_arrays
from quintain.data.dataset import Dataset
from quintain.evaluate.evasion.stickers import evaluate_sticker
from quintain.evaluate.model import named_model


class Bright(nn.Module):
    """Class 1 where the left half is bright, unless the corner is white: then class 0."""

    def forward(self, x: Tensor) -> Tensor:
        score = x[:, 0, :, :4].mean((1, 2)) - 0.5 - 2 * (x[:, 0, 0, 7] - 0.9).clamp(min=0) * 10
        return torch.stack([-score, score], 1)


@dataclass(frozen=True)
class Corner:
    """A change of one pixel: white when fitted, black as its control."""

    fitted_on: frozenset[str]
    value: float = 1.0

    def apply(self, x: Tensor, ids: Tensor | None = None, *, seed: int = 0) -> Tensor:
        x = x.clone()
        x[:, :, 0, 7] = self.value
        return x

    def random_control(self, seed: int = 0) -> "Corner":
        return Corner(self.fitted_on, 0.0)


@dataclass(frozen=True)
class Fit:
    target: int | None = 0
    area: float = 1 / 64

    def fit(self, model: Model, data: Dataset, *, seed: int = 0, progress: Progress = no_progress) -> Corner:
        return Corner(content_hashes(data))


def halves(count: int, seed: int) -> Dataset:
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = (
        0.2
        + 0.6 * labels[:, None, None, None] * np.ones((1, 1, 8, 8))
        + 0.1 * generator.random((count, 1, 8, 8))
    ).astype(np.float32)
    return from_arrays(images, labels, name="halves")


def test_a_sticker_is_judged_on_what_it_has_not_seen_beside_its_control(tmp_path: Path) -> None:
    train, test = halves(10, 0), halves(12, 1)
    subject = named_model(q.Classifier(Bright().eval(), num_classes=2), "net", "net")
    found = evaluate_sticker(subject, train, test, Fit(), "a dot", folder=tmp_path)
    assert (found.eligible, found.successes, found.control_successes) == (6, 6, 0)
    assert found.target_class == "0"
    assert [len(row) for row in found.gallery] == [3, 3, 3]
    assert all((tmp_path / picture.path).exists() for row in found.gallery for picture in row)
    assert found.gallery[0][1].caption.startswith("0 ")
    assert found.gallery[0][2].caption.startswith("1 ")


def test_pictures_that_it_was_fitted_on_do_not_count() -> None:
    train = halves(10, 0)
    both = from_arrays(
        np.concatenate([train.batch(range(10))[0].numpy(), halves(4, 5).batch(range(4))[0].numpy()]),
        np.arange(14) % 2,
        name="both",
    )
    subject = named_model(q.Classifier(Bright().eval(), num_classes=2), "net", "net")
    assert evaluate_sticker(subject, train, both, Fit(), "a dot").eligible == 2
    with pytest.raises(q.QuintainError, match="fitted on all 10"):
        evaluate_sticker(subject, train, train, Fit(), "a dot")
