"""Planted bugs of private training, each with the departure that ``verify_mechanism`` must name.

Noise that is short, repeated, coarse or bounded; clipping that is skipped, loose or blind; batches that are
not drawn as the accountant counts them.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quintain.dp import PrivacySettings, make_private
from quintain.dp.accounting import pld
from quintain.dp.per_example.grads import DenseGrads, OuterProductGrads
from quintain.dp.randomness.stream import CHUNK_BYTES, RandomStream
from quintain.dp.step.clipped_sum import FloatClippedSum
from quintain.dp.step.clipping import FlatClipping, flat_clip_factors
from quintain.dp.step.clipping_weights import clipping_weights
from quintain.testing.planted_bugs import PlantedBug

Rows = NDArray[np.int64]

_SAMPLE, _NORMAL, _FILL = RandomStream.poisson_sample, RandomStream._normal, RandomStream._fill
_COMPOSED = pld._composed_pld
_ADD_GAUSSIAN, _DENSE_NORMS = RandomStream.add_gaussian, DenseGrads.squared_norms


def _clipped_by_parameter(flat: FlatClipping, norms: Tensor, finfo: torch.finfo) -> Tensor:
    """Clip each parameter by itself and call it flat."""
    return torch.stack([flat_clip_factors(norm, flat.max_grad_norm, finfo) for norm in norms])


def _without_cross_terms(outer: OuterProductGrads) -> Tensor:
    """Add the squared norms of a layer's uses and positions, as if they were orthogonal."""
    return (outer.a.square().sum(2) * outer.g.square().sum(2)).sum(1).double()


def _matrices_only(dense: DenseGrads) -> Tensor:
    """Forget the parameters that are vectors."""
    return _DENSE_NORMS(dense) * (len(dense.shape) > 1)


class _Shuffle:
    """Go through a shuffled data set batch by batch, as plain training does."""

    def __init__(self) -> None:
        self.left: list[int] = []
        self.records = 0

    def draw(self, stream: RandomStream, records: int, expected: int) -> Rows:
        if records != self.records:
            self.left, self.records = [], records
        if expected == records:
            return _SAMPLE(stream, records, expected)
        if len(self.left) < expected:
            self.left = np.argsort(stream.words(records)).tolist()
        batch, self.left = self.left[:expected], self.left[expected:]
        return np.sort(np.array(batch))


def _fixed_size(stream: RandomStream, records: int, expected: int) -> Rows:
    """Draw as many records as expected, always."""
    return np.sort(np.argsort(stream.words(records))[:expected])


def sample_never_empty(stream: RandomStream, records: int, expected: int) -> Rows:
    """Draw again when nobody was drawn."""
    rows = _SAMPLE(stream, records, expected)
    return rows if len(rows) else sample_never_empty(stream, records, expected)


def _same_each_step(stream: RandomStream, *drawn: Any) -> Tensor:
    """Give the same noise at each step."""
    stream.seek(0)
    return _NORMAL(stream, *drawn)


def _first_part_alone(stream: RandomStream, into: Tensor, scale: float, by: int = 1) -> None:
    """Add no noise beyond the first 65,536 numbers."""
    _ADD_GAUSSIAN(stream, into[: 1 << 16], scale, by)
    into[1 << 16 :].mul_(1 / by)


def _anew_for_each_parameter(sums: FloatClippedSum, stream: RandomStream, scale: float, by: int) -> None:
    """Begin the noise of each parameter where that of the first did."""
    key = stream.words(4).tobytes()
    for part in sums.flat.split([parameter.numel() for parameter in sums._parameters]):
        RandomStream(key).add_gaussian(part, scale, by)


def _anew_for_each_piece(stream: RandomStream, into: Tensor, scale: float, by: int = 1) -> None:
    """Give each piece that is drawn at a time the same noise."""
    key = stream.words(4).tobytes()
    for piece in into.split(CHUNK_BYTES // into.element_size()):
        _ADD_GAUSSIAN(RandomStream(key), piece, scale, by)


def _coarse(values: int) -> Callable[[RandomStream, bytearray, int], None]:
    """Give words that take so many values."""

    def fill(stream: RandomStream, out: bytearray, count: int) -> None:
        _FILL(stream, out, count)
        step = 2**32 // values
        words = np.frombuffer(out, "<u4", len(out) // 4).astype(np.int64)
        out[:] = (words // step * step + step // 2).clip(max=2**32 - 1).astype("<u4").tobytes()

    return fill


def _unclipped(*, of_means: bool) -> Callable[..., Any]:
    """Skip the clipping of losses that are means, or of those that are sums."""

    def weigh(parameters: list[nn.Parameter], captured: Any, clip: Any, *, mean: bool) -> Any:
        found, weights, statistics = clipping_weights(parameters, captured, clip, mean=mean)
        skipped = torch.full_like(weights, captured.batch_size if mean else 1.0)
        return found, skipped if mean is of_means else weights, statistics

    return weigh


def _noiseless(
    module: nn.Module, optimizer: Any, loader: Any, settings: PrivacySettings, **words: Any
) -> Any:
    """Draw no noise on one of the ways to train: where ``fit`` or the engine calls ``make_private``."""
    silent = replace(settings, noise_multiplier=0.0, allow_no_privacy=True)
    return make_private(module, optimizer, loader, silent, **words)


TRAINING_BUGS: Mapping[str, PlantedBug] = {
    "no noise beyond the first part": PlantedBug(
        "quintain.dp.randomness.stream.RandomStream.add_gaussian",
        _first_part_alone,
        "standard deviation",
    ),
    "no noise in fit": PlantedBug(
        "quintain.dp.training.fitting.make_private",
        _noiseless,
        "standard deviation",
    ),
    "no noise in a loop": PlantedBug(
        "quintain.dp.opacus.privacy_engine.native_make_private",
        _noiseless,
        "standard deviation",
    ),
    "no clipping of sums": PlantedBug(
        "quintain.dp.step.private_step.clipping_weights",
        _unclipped(of_means=False),
        "moves the sum",
    ),
    "no clipping of means": PlantedBug(
        "quintain.dp.step.private_step.clipping_weights",
        _unclipped(of_means=True),
        "moves the sum",
    ),
    "clipped a little more": PlantedBug(
        "quintain.dp.step.clipping.flat_clip_factors",
        lambda norms, c, _: (0.999 * c / norms).clamp(max=1).nan_to_num(0),
        "moves the sum",
    ),
    "skipped clipping": PlantedBug(
        "quintain.dp.step.clipping.flat_clip_factors",
        lambda norms, *_: torch.ones_like(norms),
        "moves the sum",
    ),
    "clipped a little less": PlantedBug(
        "quintain.dp.step.clipping.flat_clip_factors",
        lambda norms, c, _: (1.001 * c / norms).clamp(max=1).nan_to_num(0),
        "moves the sum",
    ),
    "per-layer clip called flat": PlantedBug(
        "quintain.dp.step.clipping.FlatClipping.clip_factors",
        _clipped_by_parameter,
        "moves the sum",
    ),
    "bias not counted": PlantedBug(
        "quintain.dp.per_example.grads.DenseGrads.squared_norms",
        _matrices_only,
        "moves the sum",
    ),
    "no cross terms between positions": PlantedBug(
        "quintain.dp.per_example.grads.OuterProductGrads.squared_norms",
        _without_cross_terms,
        "moves the sum",
    ),
    "halved noise": PlantedBug(
        "quintain.dp.randomness.stream.RandomStream._normal",
        lambda *drawn: _NORMAL(*drawn) / 2,
        "standard deviation",
    ),
    "noise not scaled by the clip norm": PlantedBug(
        "quintain.dp.step.noise_and_clip.NoiseAndClip.sum_noise_std",
        property(lambda settings: settings.noise_multiplier),
        "standard deviation",
    ),
    "noise 20 % short": PlantedBug(
        "quintain.dp.randomness.stream.RandomStream._normal",
        lambda *drawn: _NORMAL(*drawn) * 0.8,
        "standard deviation",
    ),
    "noise 5 % short": PlantedBug(
        "quintain.dp.randomness.stream.RandomStream._normal",
        lambda *drawn: _NORMAL(*drawn) * 0.95,
        "standard deviation",
    ),
    "noise 2 % short": PlantedBug(
        "quintain.dp.randomness.stream.RandomStream._normal",
        lambda *drawn: _NORMAL(*drawn) * 0.98,
        "standard deviation",
    ),
    "no noise": PlantedBug(
        "quintain.dp.randomness.stream.RandomStream._normal",
        lambda *drawn: _NORMAL(*drawn) * 0,
        "standard deviation",
    ),
    "noise of another shape": PlantedBug(
        "quintain.dp.randomness.stream.RandomStream._normal",
        lambda *drawn: _NORMAL(*drawn).sign() * 1.0,
        "Gaussian",
    ),
    "the same noise each step": PlantedBug(
        "quintain.dp.randomness.stream.RandomStream._normal", _same_each_step, "two steps"
    ),
    "one noise for all layers": PlantedBug(
        "quintain.dp.randomness.stream.RandomStream.add_gaussian",
        lambda stream, into, scale, by: (
            into.view(2, -1).add_(stream.normal(len(into) // 2), alpha=scale).div_(by)
        ),
        "two layers",
    ),
    "noise anew for each parameter": PlantedBug(
        "quintain.dp.step.clipped_sum.FloatClippedSum.add_noise",
        _anew_for_each_parameter,
        "with itself 65536",
    ),
    "noise anew for each piece": PlantedBug(
        "quintain.dp.randomness.stream.RandomStream.add_gaussian",
        _anew_for_each_piece,
        "with itself 65536",
    ),
    "turns that overlap": PlantedBug(
        "quintain.dp.randomness.stream.RandomStream.seek",
        lambda stream, turn: stream._start_cipher(turn << 6),
        "with itself 134998",
    ),
    "noise with a largest value": PlantedBug(
        "quintain.dp.randomness.stream.RandomStream._normal",
        lambda *drawn: _NORMAL(*drawn).clamp(-4, 4),
        "beyond 4 deviations",
    ),
    "words of 16 bits": PlantedBug(
        "quintain.dp.randomness.stream.RandomStream._fill", _coarse(2**16), "all but equal"
    ),
    "words of two million values": PlantedBug(
        "quintain.dp.randomness.stream.RandomStream._fill",
        _coarse(2_000_000),
        "all but equal",
    ),
    "fixed batches": PlantedBug(
        "quintain.dp.randomness.stream.RandomStream.poisson_sample",
        _fixed_size,
        "spread of batch sizes",
    ),
    "shuffled batches": PlantedBug(
        "quintain.dp.randomness.stream.RandomStream.poisson_sample",
        _Shuffle().draw,
        "how often a record is drawn",
    ),
    "twice as many records": PlantedBug(
        "quintain.dp.randomness.stream.RandomStream.poisson_sample",
        lambda stream, records, expected: _SAMPLE(stream, records, min(records, 2 * expected)),
        "mean size",
    ),
}
"""Bugs of private training: the alarm is what ``verify_mechanism`` says of it."""


def _a_quarter_of_the_steps(history: tuple[tuple[float, float, int], ...], interval: float) -> Any:
    """Compose a quarter of the steps."""
    return _COMPOSED(tuple((sigma, rate, -(-steps // 4)) for sigma, rate, steps in history), interval)


ACCOUNTANT_BUGS: Mapping[str, PlantedBug] = {
    "told a quarter of the steps": PlantedBug(
        "quintain.dp.accounting.pld._composed_pld", _a_quarter_of_the_steps, "least true epsilon"
    ),
}
"""Bugs of the accountant, which the mechanism keeps to: the alarm is what an audit says of it."""
