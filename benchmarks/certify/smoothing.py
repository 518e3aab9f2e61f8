"""Sequential certificates of smoothing beside ones of fixed samples: number of samples, error and cost."""

import time
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor, nn

import quintain as q
from benchmarks.harness import Comparison, TimedComparison, compare_times
from quintain.certify.noisy_votes import BATCH_ELEMENTS
from quintain.certify.smoothing_evidence import RadiusTest, looks
from quintain.models.nets import xray_cnn

SIGMA, EXAMPLES, EPOCHS, SEED = 0.25, 100, 20, 7
RATIOS = ((0.4,), (1.0,), (2.0,), (3.0,), (1.0, 2.0))
"""Asked radii, relative to sigma; the last are those of the drill."""

HEAVY_EXAMPLES = 10
RUNS = 1_000_000


def run() -> Iterator[Comparison | TimedComparison]:
    """Compare samples and verdicts, time with that of the model alone, and the error with the stated one."""
    data = q.load_data("xrays")
    net = xray_cnn()
    defense = q.harden.GaussianAugmentation(SIGMA, q.training.Recipe(EPOCHS, learning_rate=3e-3))
    q.harden.fit(net, data.split("train"), defense)
    x, y = data.split("test").sample(EXAMPLES, seed=0).batch(range(EXAMPLES))
    smooth = q.certify.SmoothedClassifier(q.Classifier(net.eval(), num_classes=2), SIGMA)
    fixed = smooth.certify(x, y, seed=SEED).radius
    for ratios in RATIOS:
        yield _samples(smooth, x, y, fixed, tuple(ratio * SIGMA for ratio in ratios))
    yield from _overhead("X-ray CNN", net, x, y)
    heavy = residual_net()
    few = x[:HEAVY_EXAMPLES]
    yield from _overhead("residual net", heavy, few, q.Classifier(heavy).predict(few))
    for ratio in (0.4, 1.0, 2.0):
        yield _error(ratio)


def _samples(
    smooth: q.certify.SmoothedClassifier, x: Tensor, y: Tensor, fixed: Tensor, radii: tuple[float, ...]
) -> Comparison:
    """Return how many samples the asked radii take, and how many verdicts are those of fixed samples."""
    found = smooth.certify(x, y, radii=radii, seed=SEED)
    same = sum(int(((found.radius > radius) == (fixed > radius)).sum()) for radius in radii) / len(radii)
    asked = ", ".join(f"{radius / SIGMA:g}" for radius in radii)
    return Comparison(
        f"{EXAMPLES} X-rays, radii of {asked} sigma",
        f"{found.forwards.double().mean():,.0f} samples an example (median {found.forwards.median():,}), "
        f"verdicts as of {smooth.noise_samples:,} fixed samples on {same:g}; abstained on "
        f"{int((found.abstained_radius > 0).sum())}",
    )


def _overhead(name: str, net: nn.Module, x: Tensor, y: Tensor) -> Iterator[TimedComparison]:
    """Compare a certificate's processor time with the model's own on as many copies, in full batches.

    First those of the model alone, then those of the model and of the noise, drawn into one block of memory.
    """
    smooth = q.certify.SmoothedClassifier(q.Classifier(net, num_classes=2), SIGMA)
    radii = (SIGMA, 2 * SIGMA)
    copies = int(smooth.certify(x, y, radii=radii, seed=SEED).forwards.sum())
    room = BATCH_ELEMENTS // x[0].numel()
    batch = (x[:1] + SIGMA * torch.randn(room, *x.shape[1:])).to(memory_format=torch.channels_last)
    drawn, generator = torch.empty(batch.shape), torch.Generator().manual_seed(SEED)

    @torch.inference_mode()
    def model_alone(*, draws: bool = False) -> None:
        for size in (*[room] * (copies // room), copies % room):
            if draws:
                drawn[:size].normal_(generator=generator)
            net(batch[:size])

    peers = {"model": model_alone, "model and draws of noise": partial(model_alone, draws=True)}
    for beside, peer in peers.items():
        yield compare_times(
            f"processor time, {name}: certificates of {len(x)} X-rays against {beside} on the same "
            f"{copies:,} copies",
            lambda: smooth.certify(x, y, radii=radii, seed=SEED),
            peer,
            clock=time.process_time,
        )


def residual_net() -> nn.Sequential:
    """Make a residual net of seven convolutions of 16 channels, for X-rays; its weights are as drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        first = (nn.Conv2d(1, 16, 3, padding=1), nn.ReLU())
        blocks = [Residual(16) for _ in range(3)]
        return nn.Sequential(*first, *blocks, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(784, 2)).eval()


class Residual(nn.Module):
    """Two convolutions beside the input itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H, W), as it is given."""
        return torch.relu(x + self.second(torch.relu(self.first(x))))


def _error(ratio: float) -> Comparison:
    """Return how often an example whose true radius is the asked one is certified, in a million of them.

    On a linear model the probability of a hit is known: the normal distribution function of margin by noise.
    """
    alpha = 0.001
    test = RadiusTest(SIGMA, (ratio * SIGMA,), alpha, 10_000)
    rng, most = np.random.default_rng(SEED), test.max_misses()
    hits, false, samples, seen = np.zeros(RUNS, dtype=np.int64), 0, 0, 0
    for look in looks(test.max_samples):
        hits += rng.binomial(look - seen, ndtr(ratio), len(hits))
        samples += (look - seen) * len(hits)
        seen = look
        # As many examples share a number of hits, each number is decided once.
        counts, row = np.unique(hits, return_inverse=True)
        certified = test.certifies(counts, look)[:, 0]
        ended = certified | test.refuses(counts, look)[:, 0] | (look - counts > most)
        false += int(certified[row].sum())
        hits = hits[~ended[row]]
    return Comparison(
        f"{RUNS:,} examples of true radius {ratio:g} sigma, asked for it",
        f"{false / RUNS:.5f} certified, stated at most {alpha:g}; {samples / RUNS:,.0f} samples an example",
    )
