"""One sticker for all pictures: fitted on some, judged on others, beside the same area of random pattern."""

from pathlib import Path
from typing import Protocol

import torch

from quintain.attacks.outcome import Model
from quintain.attacks.perturbation import Perturbation, held_out, success_rate
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.evaluate.gallery import answered
from quintain.evaluate.pictures import drawable
from quintain.evaluate.subject import Subject
from quintain.results.artifacts import Gallery, Picture
from quintain.results.robustness_records import StickerResult


class Fit(Protocol):
    """A sticker that is not yet fitted."""

    @property
    def target(self) -> int | None:
        """The class to be answered."""

    @property
    def area(self) -> float:
        """The largest share of the picture that it covers."""

    def fit(self, model: Model, data: Dataset, *, seed: int = 0, progress: Progress = no_progress) -> Perturbation:
        """The sticker for some pictures."""


def stuck(
    subject: Subject,
    train: Dataset,
    test: Dataset,
    sticker: Fit,
    what: str,
    *,
    seed: int = 0,
    folder: Path | None = None,
    pictures: int = 3,
    progress: Progress = no_progress,
) -> StickerResult:
    """Fit a sticker on ``train`` and score it on the pictures of ``test`` that it has not seen, in views that it has not seen.

    Args:
        subject: The model.
        train, test: Pictures to fit on, and to judge on.
        sticker: What is fitted.
        what: Its name, for people.
        seed: Of fitting, views and the random pattern.
        folder: Where pictures go.
        pictures: How many examples that it turned are kept.
        progress: Shows a bar of steps.
    """
    fitted = sticker.fit(subject.model, train, seed=derive_seed(seed, "fit"), progress=progress)
    control = fitted.random_control(derive_seed(seed, "control"))
    unseen, views = held_out(test, fitted), derive_seed(seed, "views")
    found = success_rate(subject.model, unseen, fitted, seed=views, target=sticker.target)
    chance = success_rate(subject.model, unseen, control, seed=views, target=sticker.target)
    target = "any wrong class" if sticker.target is None else test.class_names[sticker.target]
    shown = _gallery(folder, subject, unseen, (fitted, control), views, sticker.target, pictures) if folder and drawable(test.shape) else ()
    return StickerResult(subject.name, what, sticker.area, target, found.eligible, found.successes, chance.successes, shown)


@torch.inference_mode()
def _gallery(
    folder: Path,
    subject: Subject,
    data: Dataset,
    stickers: tuple[Perturbation, Perturbation],
    seed: int,
    target: int | None,
    pictures: int,
) -> Gallery:
    """The first pictures that the sticker turns."""
    rows: list[tuple[Picture, ...]] = []
    for x, y, ids in data.batches(64):
        worn, random = (sticker.apply(x, ids, seed=seed) for sticker in stickers)
        before, after = subject.model.predict(x), subject.model.predict(worn)
        turned = (before == y) & (after != y if target is None else (after == target) & (y != target))
        for at in turned.nonzero().squeeze(1).tolist()[: pictures - len(rows)]:
            stem = f"{subject.name}-sticker-{int(ids[at])}"
            clean = answered(folder, f"{stem}-clean", subject, data, x[at])
            wearing = answered(folder, f"{stem}-worn", subject, data, worn[at], "bad")
            rows.append((clean, wearing, answered(folder, f"{stem}-random", subject, data, random[at])))
        if len(rows) == pictures:
            break
    return tuple(rows)
