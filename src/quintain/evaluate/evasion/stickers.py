"""Evaluate a sticker that is one for all pictures: fitted on some, scored on others, beside a random
pattern.
"""

from pathlib import Path
from typing import Protocol

import torch

from quintain.attacks.outcome import Model
from quintain.attacks.perturbation import Perturbation, held_out, success_rate
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.evaluate.images import drawable, store_prediction
from quintain.evaluate.model import EvaluatedModel
from quintain.results.artifacts import Gallery, Picture
from quintain.results.robustness_records import StickerResult


class FittableSticker(Protocol):
    """A sticker that can be fitted to pictures."""

    @property
    def target(self) -> int | None:
        """The class to be answered."""

    @property
    def area(self) -> float:
        """The largest share of the picture that it covers."""

    def fit(
        self, model: Model, data: Dataset, *, seed: int = 0, progress: Progress = no_progress
    ) -> Perturbation:
        """The sticker for some pictures."""


def evaluate_sticker(
    subject: EvaluatedModel,
    train: Dataset,
    test: Dataset,
    sticker: FittableSticker,
    description: str,
    *,
    seed: int = 0,
    folder: Path | None = None,
    num_pictures: int = 3,
    progress: Progress = no_progress,
) -> StickerResult:
    """Fit a sticker on ``train`` and score it on the pictures of ``test`` that it has not seen, in views that
    it has not seen.

    Args:
        subject: The model.
        train, test: Pictures to fit on, and to score on.
        sticker: The sticker to fit.
        description: Its name, for people.
        seed: Seed of fitting, views and the random pattern.
        folder: Where pictures go.
        num_pictures: How many pictures on which it succeeds are kept.
        progress: Shows a bar of steps.
    """
    fitted = sticker.fit(subject.model, train, seed=derive_seed(seed, "fit"), progress=progress)
    control = fitted.random_control(derive_seed(seed, "control"))
    unseen, views = held_out(test, fitted), derive_seed(seed, "views")
    found = success_rate(subject.model, unseen, fitted, seed=views, target=sticker.target)
    chance = success_rate(subject.model, unseen, control, seed=views, target=sticker.target)
    target = "any wrong class" if sticker.target is None else test.class_names[sticker.target]
    pictures: Gallery = ()
    if folder and drawable(test.shape):
        pictures = _gallery(folder, subject, unseen, (fitted, control), views, sticker.target, num_pictures)
    return StickerResult(
        model=subject.name,
        description=description,
        area=sticker.area,
        target_class=target,
        eligible=found.eligible,
        successes=found.successes,
        control_successes=chance.successes,
        gallery=pictures,
    )


@torch.inference_mode()
def _gallery(
    folder: Path,
    subject: EvaluatedModel,
    data: Dataset,
    stickers: tuple[Perturbation, Perturbation],
    seed: int,
    target: int | None,
    pictures: int,
) -> Gallery:
    """Return the first pictures on which the sticker succeeds."""
    rows: list[tuple[Picture, ...]] = []
    for x, y, ids in data.batches(64):
        worn, random = (sticker.apply(x, ids, seed=seed) for sticker in stickers)
        before, after = subject.model.predict(x), subject.model.predict(worn)
        turned = (before == y) & (after != y if target is None else (after == target) & (y != target))
        for at in turned.nonzero().squeeze(1).tolist()[: pictures - len(rows)]:
            stem = f"{subject.name}-sticker-{int(ids[at])}"
            clean = store_prediction(folder, f"{stem}-clean", subject, data, x[at])
            wearing = store_prediction(folder, f"{stem}-worn", subject, data, worn[at], "bad")
            rows.append(
                (clean, wearing, store_prediction(folder, f"{stem}-random", subject, data, random[at]))
            )
        if len(rows) == pictures:
            break
    return tuple(rows)
