"""Universal perturbations, one for all images, and their success rate on other images."""

import hashlib
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from quintain.attacks.counted_model import CountedModel
from quintain.attacks.goal import Goal
from quintain.attacks.outcome import Model
from quintain.core.errors import DataError, SettingError
from quintain.core.statistics import binomial_interval
from quintain.data.dataset import Dataset, Examples, canonical_bytes, to_dataset
from quintain.models.devices import device_of, search_device
from quintain.models.precision import in_full_precision

HASH_BATCH_SIZE = 256


class Perturbation(Protocol):
    """A fitted universal perturbation: an additive pattern, a patch, a pair of glasses."""

    @property
    def fitted_on(self) -> frozenset[str]:
        """The examples that it was fitted on, by ``hash_examples``."""

    def apply(self, x: Tensor, ids: Tensor | None = None, *, seed: int = 0) -> Tensor:
        """Return the perturbed images (B, *S), in the box.

        Args:
            x: Images (B, *S).
            ids: Their numbers in their data set (B,), which with ``seed`` fix the random views (position,
                rotation, light) of a perturbation that has any.
            seed: Of the random views.
        """

    def random_control(self, seed: int = 0) -> Self:
        """Return the control of the experiment: a random perturbation of the same size."""


@dataclass(frozen=True, slots=True)
class SuccessRate:
    """The success rate of a universal perturbation, with its counts.

    Args:
        examples: Number of images.
        eligible: Of these, classified correctly when clean and, with a target, not of its class.
        fooled: Of the eligible, misclassified when perturbed.
        successes: Of the eligible, classified as the target; without a target, those fooled.
    """

    examples: int
    eligible: int
    fooled: int
    successes: int

    @property
    def rate(self) -> float:
        """Successes as a fraction of the eligible images."""
        return self.successes / self.eligible

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the Clopper-Pearson confidence interval of the rate.

        It holds for the population that these images were sampled from.
        """
        return binomial_interval(self.successes, self.eligible, confidence)


@in_full_precision
@torch.inference_mode(False)
@torch.no_grad()
def success_rate(
    model: Model,
    data: Examples,
    perturbation: Perturbation,
    *,
    seed: int = 0,
    target: int | None = None,
    batch_size: int = 256,
) -> SuccessRate:
    """Measure the success rate of a perturbation on images that it was not fitted on.

    Report that of ``perturbation.random_control()`` beside it.

    Args:
        model: Gives logits (B, K), or labels as such.
        data: Images that the perturbation was not fitted on, or a pair of arrays (images, labels);
            ``held_out`` leaves the others out.
        perturbation: The fitted perturbation.
        seed: Of the random views.
        target: The class that counts as a success; any wrong class if not given.
        batch_size: How many images are held in memory at once.

    Raises:
        DataError: If the perturbation was fitted on one of the images, or none of them is eligible.
        SettingError: If the target is none of the classes.
    """
    data = to_dataset(data)
    check_target(data, target)
    eligible = fooled = successes = 0
    device = search_device(device_of(model))
    for x, y, ids in data.batches(batch_size):
        # The success rate on images of the fit is higher than on others, so they are refused.
        num_fitted = sum(name in perturbation.fitted_on for name in hash_examples(x))
        if num_fitted:
            raise DataError(
                f"the perturbation was fitted on {num_fitted} of the images {int(ids[0])} to {int(ids[-1])} "
                f"of {data.name}; score it on others: held_out(data, perturbation) leaves these out"
            )
        x, y, ids = (tensor.to(device) for tensor in (x, y, ids))
        # Eligible: classified correctly when clean, and not of the target class.
        rows = torch.arange(len(y), device=device)
        logits = CountedModel(model, y).logits(x, rows)
        correct = (logits.argmax(1) == y) & ~logits.isnan().any(1)
        if target is not None:
            correct &= y != target
        x, y, ids = x[correct], y[correct], ids[correct]
        if not len(x):
            continue
        # Fooled: misclassified when perturbed. With a target, only its class is a success.
        rows = rows[: len(x)]
        logits = CountedModel(model, y).logits(perturbation.apply(x, ids, seed=seed), rows)
        wrong = Goal(y).is_adversarial(logits, rows)
        success = (
            wrong if target is None else Goal(y, torch.full_like(y, target)).is_adversarial(logits, rows)
        )
        eligible, fooled, successes = (
            eligible + len(x),
            fooled + int(wrong.sum()),
            successes + int(success.sum()),
        )
    if not eligible:
        raise DataError(
            f"no image of {data.name} is classified correctly (and is not of the target class): a success "
            "rate is not defined"
        )
    return SuccessRate(len(data), eligible, fooled, successes)


def held_out(data: Examples, perturbation: Perturbation) -> Dataset:
    """Return the images that a perturbation was not fitted on, copies of those included.

    Raises:
        DataError: If there are none.
    """
    data = to_dataset(data)
    kept = [
        ids[[name not in perturbation.fitted_on for name in hash_examples(x)]]
        for x, _, ids in data.batches(HASH_BATCH_SIZE)
    ]
    kept_rows = torch.cat(kept)
    if not len(kept_rows):
        raise DataError(
            f"the perturbation was fitted on all {len(data)} images of {data.name}; score it on others"
        )
    return data.subset(kept_rows, name=data.name)


def content_hashes(data: Dataset) -> frozenset[str]:
    """Return the hashes of all examples of a data set, as ``hash_examples`` gives them.

    It takes one pass over the data.
    """
    return frozenset(name for x, _, _ in data.batches(HASH_BATCH_SIZE) for name in hash_examples(x))


def hash_examples(x: Tensor) -> list[str]:
    """Hash each example (B, *S) of a batch by its values."""
    return [hashlib.blake2b(canonical_bytes(row), digest_size=16).hexdigest() for row in x]


def check_target(data: Dataset, target: int | None) -> None:
    """Raise if the target is not one of the classes.

    Raises:
        SettingError: If so.
    """
    if target is not None and not 0 <= target < data.num_classes:
        raise SettingError(
            f"target = {target}; expected a class of {data.name}, from 0 to {data.num_classes - 1}"
        )
