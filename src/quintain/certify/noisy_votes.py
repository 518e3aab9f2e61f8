"""The votes of a base model on noisy copies of examples, batch by batch."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from quintain.certify.smoothing_noise import GAUSSIAN, Noise
from quintain.core.errors import ModelError
from quintain.models.memory import in_fitting_parts
from quintain.models.protocol import ClassifierLike

Counts = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

BATCH_ELEMENTS = 2**17
"""Numbers in one batch of noisy inputs (0.5 MiB in float32): this bounds memory and suits the cache."""


def count_classes(
    model: ClassifierLike,
    x: Tensor,
    generators: Sequence[torch.Generator],
    samples: int,
    *,
    sigma: float,
    memory_format: torch.memory_format,
    noise: Noise = GAUSSIAN,
) -> tuple[Counts, Flags]:
    """Count the classes of noisy copies of several examples, which share batches.

    The noise of each is that of its own generator, in draws whose sizes depend on the shape of an example
    and on ``samples`` alone, not on what it shares a batch with.

    Args:
        model: Classifies the copies.
        x: Inputs (B, *S), at least one.
        generators: The state of each one's noise (B,), moved on.
        samples: Number of copies of each.
        sigma: Standard deviation of the noise.
        memory_format: In which the copies are handed over.
        noise: Its law.

    Returns:
        Counts (B, K); and whether an output for the example is not a number (B,).
    """
    x = x.to(noise_type(x))
    counts: Counts | None = None
    failed = np.zeros(len(x), dtype=bool)
    for owner, copies in _batches(x.cpu(), generators, samples, sigma, noise):
        answered = partial(_answers, model, copies.to(x.device), memory_format)
        parts = list(in_fitting_parts(answered, len(copies), work="noisy copies"))
        logits = torch.cat(parts).double().cpu().numpy()
        failed[owner[~np.isfinite(logits).all(1)]] = True
        if counts is None:
            counts = np.zeros((len(x), logits.shape[1]), dtype=np.int64)
        np.add.at(counts, (owner, logits.argmax(1)), 1)
    assert counts is not None
    return counts, failed


def _batches(
    x: Tensor, generators: Sequence[torch.Generator], samples: int, sigma: float, noise: Noise
) -> Iterator[tuple[Counts, Tensor]]:
    """Yield full batches of noisy copies, and the row of the example of each; the last may have fewer.

    A batch is valid until the next one is requested, which overwrites it.
    """
    room = max(1, BATCH_ELEMENTS // max(1, x[0].numel()))
    size, total = min(room, samples), len(x) * samples
    # A draw is small enough to be still in the cache when it is added to the example, straight into a batch.
    drawn = torch.empty(size, *x.shape[1:], dtype=torch.float32)
    batch = torch.empty(min(room, total), *x.shape[1:], dtype=x.dtype)
    first, filled = 0, 0  # the copies are numbered through, those of the first example first
    for one, generator in zip(x, generators, strict=True):
        for left in range(samples, 0, -size):
            block, count = (drawn, size) if left >= size else (drawn[:left], left)
            noise.fill(block, generator)
            while count:
                fitting = min(count, room - filled)
                part = block if fitting == count else block[:fitting]
                torch.add(one, part, alpha=sigma, out=batch[filled : filled + fitting])
                block, count, filled = block[fitting:], count - fitting, filled + fitting
                if filled == room:
                    yield np.arange(first, first + room) // samples, batch
                    first, filled = first + room, 0
    if filled:
        yield np.arange(first, first + filled) // samples, batch[:filled]


def _answers(model: ClassifierLike, batch: Tensor, memory_format: torch.memory_format, part: slice) -> Tensor:
    # a copy: the next batch is written over this one, and a model may keep its input
    return model(batch[part].clone(memory_format=memory_format))


def fast_memory_format(model: ClassifierLike, x: Tensor) -> torch.memory_format:
    """Return channels last where the model takes it.

    Convolutions on the CPU are then 1.7 times as fast.
    """
    if x.ndim != 4 or not len(x):
        return torch.contiguous_format
    try:
        model(x[:1].to(memory_format=torch.channels_last))
    except ModelError:
        return torch.contiguous_format
    return torch.channels_last


def noise_type(x: Tensor) -> torch.dtype:
    """Return the type in which noise is added: that of the inputs, float32 at least."""
    return torch.promote_types(x.dtype, torch.float32)
