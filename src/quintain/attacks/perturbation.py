"""One change for all pictures: what it is, and how often it works on pictures that it was not fitted on."""

import hashlib
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from quintain.attacks.goal import Goal
from quintain.attacks.meter import Meter
from quintain.attacks.outcome import Model
from quintain.core.errors import DataError, SettingError
from quintain.core.statistics import binomial_interval
from quintain.data.dataset import Dataset, canonical_bytes

READ_AT_ONCE = 256


class Perturbation(Protocol):
    """A finished change: a pattern that is added, a sticker, a pair of glasses."""

    @property
    def fitted_on(self) -> frozenset[str]:
        """The examples that it was fitted on, as ``content`` names them."""

    def apply(self, x: Tensor, ids: Tensor | None = None, *, seed: int = 0) -> Tensor:
        """The changed pictures (B, *S), in the box.

        Args:
            x: Pictures (B, *S).
            ids: Their numbers in their data set (B,), which with ``seed`` fix the views, where there are any.
            seed: Of the views.
        """

    def random(self, seed: int = 0) -> Self:
        """The control: a change of the same size, drawn at random."""


@dataclass(frozen=True, slots=True)
class Score:
    """How often one change works.

    Args:
        examples: How many pictures were asked about.
        eligible: Those of them that could be turned: answered rightly when unchanged and, with a target, not of its class.
        fooled: Those of the eligible that are answered wrongly when changed.
        reached: Those of the eligible that are answered with the target; those fooled, without one.
    """

    examples: int
    eligible: int
    fooled: int
    reached: int

    @property
    def rate(self) -> float:
        """The share of the eligible that is answered as the change wants."""
        return self.reached / self.eligible

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """What the rate may be over all pictures that these were drawn from, by Clopper and Pearson."""
        return binomial_interval(self.reached, self.eligible, confidence)


@torch.inference_mode(False)
@torch.no_grad()
def score(model: Model, data: Dataset, perturbation: Perturbation, *, seed: int = 0, target: int | None = None, batch: int = 256) -> Score:
    """Ask a model about changed pictures, none of which the change was fitted on.

    A rate says little alone: score ``perturbation.random()`` beside it.

    Args:
        model: Gives logits (B, K), or labels as such.
        data: Pictures that the change has not seen; ``held_out`` leaves the others out.
        perturbation: The change.
        seed: Of the views.
        target: The class that it is after; any wrong one if not given.
        batch: How many pictures are held in memory at once.

    Raises:
        DataError: If it was fitted on one of the pictures, or none of them can be turned.
        SettingError: If the target is none of the classes.
    """
    require_target(data, target)
    eligible = fooled = reached = 0
    for x, y, ids in data.batches(batch):
        seen = sum(name in perturbation.fitted_on for name in content(x))
        if seen:
            raise DataError(
                f"the change was fitted on {seen} of the pictures {int(ids[0])} to {int(ids[-1])} of {data.name}; "
                "score it on others: held_out(data, perturbation) leaves these out"
            )
        rows = torch.arange(len(y))
        logits = Meter(model, y).scores(x, rows)
        able = (logits.argmax(1) == y) & ~logits.isnan().any(1)
        if target is not None:
            able &= y != target
        x, y, ids = x[able], y[able], ids[able]
        if not len(x):
            continue
        rows = rows[: len(x)]
        logits = Meter(model, y).scores(perturbation.apply(x, ids, seed=seed), rows)
        wrong = Goal(y).reached(logits, rows)
        aim = wrong if target is None else Goal(y, torch.full_like(y, target)).reached(logits, rows)
        eligible, fooled, reached = eligible + len(x), fooled + int(wrong.sum()), reached + int(aim.sum())
    if not eligible:
        raise DataError(f"none of the {len(data)} pictures of {data.name} is answered rightly and not the target; nothing can be turned")
    return Score(len(data), eligible, fooled, reached)


def held_out(data: Dataset, perturbation: Perturbation) -> Dataset:
    """The pictures that a change was not fitted on, copies of those included.

    Raises:
        DataError: If there are none.
    """
    kept = [ids[[name not in perturbation.fitted_on for name in content(x)]] for x, _, ids in data.batches(READ_AT_ONCE)]
    places = torch.cat(kept)
    if not len(places):
        raise DataError(f"the change was fitted on all {len(data)} pictures of {data.name}; score it on others")
    return data.subset(places, name=data.name)


def seen_in(data: Dataset) -> frozenset[str]:
    """The names of all examples of a data set, as ``content`` gives them; it takes one pass over the data."""
    return frozenset(name for x, _, _ in data.batches(READ_AT_ONCE) for name in content(x))


def content(x: Tensor) -> list[str]:
    """A name for each example (B, *S) of a data set, by its values alone."""
    return [hashlib.blake2b(canonical_bytes(row), digest_size=16).hexdigest() for row in x]


def require_target(data: Dataset, target: int | None) -> None:
    """Refuse a target that is none of the classes.

    Raises:
        SettingError: If so.
    """
    if target is not None and not 0 <= target < data.classes:
        raise SettingError(f"target = {target}; {data.name} has the classes 0 .. {data.classes - 1}")
