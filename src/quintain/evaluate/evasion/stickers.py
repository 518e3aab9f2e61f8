"""Evaluate a sticker that is one for all pictures: fitted on some, scored on others, beside a random
pattern.
"""

from pathlib import Path
from typing import Protocol, cast

import torch

from quintain.attacks.outcome import Model
from quintain.attacks.perturbation import Perturbation, held_out, success_rate
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.evaluate.images import drawable, store_prediction
from quintain.evaluate.model import EvaluatedModel
from quintain.models.loop_checkpoints import Checkpoints, no_checkpoints, with_checkpoints
from quintain.results.artifacts import Gallery, Picture
from quintain.results.robustness_records import StickerResult
from quintain.threats.threat import Threat


class Sticker(Protocol):
    """An attack that fits one change for many pictures, bounded by its own settings."""

    @property
    def target(self) -> int | None:
        """The class to be answered."""

    def fit(
        self, model: Model, data: Dataset, *, seed: int = 0, progress: Progress = no_progress
    ) -> Perturbation:
        """Return the change for some pictures."""


class StickerInThreat(Protocol):
    """An attack that fits one change for many pictures, inside a threat."""

    def fit(
        self,
        model: Model,
        data: Dataset,
        threat: Threat,
        *,
        seed: int = 0,
        target: int | None = None,
        progress: Progress = no_progress,
    ) -> Perturbation:
        """Return the change for some pictures."""


def evaluate_sticker(
    subject: EvaluatedModel,
    train: Dataset,
    test: Dataset,
    sticker: Sticker | StickerInThreat,
    description: str,
    *,
    threat: Threat | None = None,
    target: int | None = None,
    seed: int = 0,
    folder: Path | None = None,
    num_pictures: int = 3,
    picture_name: str = "sticker",
    checkpoints: Checkpoints = no_checkpoints,
    progress: Progress = no_progress,
) -> StickerResult:
    """Fit a sticker on ``train`` and score it on the pictures of ``test`` that it has not seen, in views that
    it has not seen.

    Args:
        subject: The model.
        train, test: Pictures to fit on, and to score on.
        sticker: The sticker to fit, or another change that is one for all pictures.
        description: Its name, for people.
        threat: What it may change, for one that takes a threat.
        target: The class to be answered, for one that takes a threat; any wrong one if not given. Others
            have it among their settings.
        seed: Seed of fitting, views and the random pattern.
        folder: Where pictures go.
        num_pictures: How many pictures on which it succeeds are kept.
        picture_name: What its pictures are called in the folder.
        checkpoints: Keeps the state of the fit, for a sticker whose ``fit`` takes them.
        progress: Shows a bar of steps.
    """
    fit_seed = derive_seed(seed, "fit")
    if threat is None:
        free = cast(Sticker, sticker)
        target = free.target
        fit = with_checkpoints(free.fit, checkpoints)
        fitted = fit(subject.model, train, seed=fit_seed, progress=progress)
    else:
        fit_in = with_checkpoints(cast(StickerInThreat, sticker).fit, checkpoints)
        fitted = fit_in(subject.model, train, threat, seed=fit_seed, target=target, progress=progress)
    control = fitted.random_control(derive_seed(seed, "control"))
    unseen, views = held_out(test, fitted), derive_seed(seed, "views")
    found = success_rate(subject.model, unseen, fitted, seed=views, target=target)
    chance = success_rate(subject.model, unseen, control, seed=views, target=target)
    goal = "any wrong class" if target is None else test.class_names[target]
    pictures: Gallery = ()
    if folder and drawable(test.shape):
        name = f"{subject.name}-{picture_name}"
        pictures = _gallery(folder, name, subject, unseen, (fitted, control), views, target, num_pictures)
    return StickerResult(
        model=subject.name,
        description=description,
        area=area_of(sticker, fitted, unseen, views),
        target_class=goal,
        eligible=found.eligible,
        successes=found.successes,
        control_successes=chance.successes,
        gallery=pictures,
    )


@torch.inference_mode()
def area_of(sticker: object, fitted: Perturbation, data: Dataset, seed: int) -> float:
    """Return the largest fraction of a picture that a sticker covers.

    It is the limit among the attack's settings, or else the most pixels that are changed on some pictures.
    """
    limit: float | None = getattr(sticker, "area", None)
    if limit is not None:
        return limit
    changed = [(fitted.apply(x, ids, seed=seed) != x).any(1).flatten(1) for x, _, ids in data.batches(64)]
    return float(torch.cat(changed).double().mean(1).max())


@torch.inference_mode()
def _gallery(
    folder: Path,
    name: str,
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
            stem = f"{name}-{int(ids[at])}"
            clean = store_prediction(folder, f"{stem}-clean", subject, data, x[at])
            wearing = store_prediction(folder, f"{stem}-worn", subject, data, worn[at], "bad")
            rows.append(
                (clean, wearing, store_prediction(folder, f"{stem}-random", subject, data, random[at]))
            )
        if len(rows) == pictures:
            break
    return tuple(rows)
