"""Measure the ways to compute per-example norms, and how far ``per_example.cost_model`` is from the best."""

import itertools
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.optimize import nnls

from benchmarks.harness import Comparison
from quintain.dp.per_example import cost_model
from quintain.dp.per_example.grads import OuterProductGrads
from quintain.dp.rules.convolutions import ConvGeometry, ConvGrads

BATCH, ROUNDS = 32, 7
SEQUENCES = tuple(
    itertools.product((2, 8, 32, 128, 256), ((32, 32), (128, 128), (128, 512), (512, 128), (64, 1024)))
)
"""Positions of a sequence, with inputs and outputs of a linear layer."""
CONVOLUTIONS = (
    (1, 16, 28, 8, 2, 2),
    (3, 16, 32, 3, 1, 1),
    (16, 16, 32, 3, 1, 1),
    (16, 32, 11, 4, 2, 0),
    (16, 32, 32, 3, 2, 1),
    (16, 32, 32, 1, 2, 0),
    (32, 32, 16, 3, 1, 1),
    (32, 64, 16, 3, 2, 1),
    (64, 64, 8, 3, 1, 1),
    (128, 128, 8, 3, 1, 1),
    (128, 128, 4, 3, 1, 1),
)
"""Convolutions: inputs, outputs, side of the input, kernel, stride, padding."""


def seconds(work: Callable[[], object]) -> float:
    """Return the least time of some rounds, after a warm-up."""
    work()
    times = []
    for _ in range(ROUNDS):
        clock = time.perf_counter()
        work()
        times.append(time.perf_counter() - clock)
    return min(times)


def norm_times(positions: int, inputs: int, outputs: int) -> tuple[float, float]:
    """Return the seconds of a ghost norm, and of the norm of materialized gradients."""
    outer = OuterProductGrads(torch.randn(BATCH, positions, inputs), torch.randn(BATCH, positions, outputs))
    chosen, times = cost_model.ghost_norm_is_cheaper, []
    for ghost in (True, False):
        cost_model.ghost_norm_is_cheaper = lambda *_, ghost=ghost: ghost
        times.append(seconds(outer.squared_norms))
    cost_model.ghost_norm_is_cheaper = chosen
    return times[0], times[1]


def filter_times(
    inputs: int, outputs: int, side: int, kernel: int, stride: int, padding: int
) -> dict[str, float]:
    """Return the seconds of a convolution's norms: by patches, ghost norms, folded calls, and as chosen."""
    window = ConvGeometry(
        torch.Size((outputs, inputs, kernel, kernel)), (stride,) * 2, (padding,) * 2, (1, 1), 1
    )
    out = (side + 2 * padding - kernel) // stride + 1
    filters = ConvGrads(window, torch.randn(BATCH, inputs, side, side), torch.randn(BATCH, outputs, out, out))
    times = {"chosen": seconds(filters.squared_norms)}
    chosen = cost_model.patches_are_cheaper, cost_model.ghost_norm_is_cheaper
    for name, patches, ghost in (("patches", True, False), ("ghost", True, True), ("folded", False, False)):
        cost_model.patches_are_cheaper, cost_model.ghost_norm_is_cheaper = (
            lambda *_, patches=patches: patches,
            lambda *_, ghost=ghost: ghost,
        )
        times[name] = seconds(filters.squared_norms)
    cost_model.patches_are_cheaper, cost_model.ghost_norm_is_cheaper = chosen
    return times


def run() -> Iterator[Comparison]:
    """Measure norms of linear layers over sequences, then of convolutions."""
    ghost_rates, materialized_rates, measured = [], [], []
    for positions, (inputs, outputs) in SEQUENCES:
        ghost, materialized = norm_times(positions, inputs, outputs)
        ghost_rates.append(
            [
                positions**2 * (inputs + outputs) / ghost,
                positions**2 / ghost,
                positions * (inputs + outputs) / ghost,
            ]
        )
        materialized_rates.append(
            [
                positions * inputs * outputs / materialized,
                inputs * outputs / materialized,
                positions * (inputs + outputs) / materialized,
            ]
        )
        measured.append((ghost, materialized, cost_model.ghost_norm_is_cheaper(positions, inputs, outputs)))
    ones = np.ones(len(measured))
    multiply, product, _ = nnls(np.array(ghost_rates), ones)[0]
    build, read, _ = nnls(np.array(materialized_rates), ones)[0]
    regret = [
        (ghost if choice else materialized) / min(ghost, materialized)
        for ghost, materialized, choice in measured
    ]
    always_ghost = [ghost / min(ghost, materialized) for ghost, materialized, _ in measured]
    never_ghost = [materialized / min(ghost, materialized) for ghost, materialized, _ in measured]
    yield Comparison(
        "norms of sequences",
        f"in units of a ghost norm's multiplication ({1e12 * multiply / BATCH:.0f} ps): MATERIALIZE_FLOP "
        f"{build / multiply:.2f}, PRODUCT {product / multiply:.1f}, MEMORY_ROUNDTRIP {read / multiply:.1f}; "
        f"the choice costs {np.mean(regret):.2f} times the best on average, {max(regret):.2f} at worst, "
        f"always ghost {np.mean(always_ghost):.2f}, never {np.mean(never_ghost):.2f} "
        f"({len(measured)} shapes, batch {BATCH})",
    )
    for shape in CONVOLUTIONS:
        inputs, outputs, side, kernel, stride, _ = shape
        times = filter_times(*shape)
        best = min(times[name] for name in ("patches", "ghost", "folded"))
        yield Comparison(
            f"norms of a convolution {inputs} -> {outputs} on {side}x{side}, kernel {kernel}, stride "
            f"{stride}",
            f"{', '.join(f'{name} {1e3 * value:.2f} ms' for name, value in times.items())}; "
            f"{times['chosen'] / best:.2f} times the best",
        )
