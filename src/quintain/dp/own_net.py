"""Measurements on the user's own net: the noise of each of its weights, and clipping in its layers, sizes and
format.
"""

import math
import pickle
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from quintain.core.p_values import chi_square_test
from quintain.dp.noise_tests import (
    autocorrelation_measurements,
    first_numbers,
    similarity_measurements,
    variation_measurements,
)
from quintain.dp.observed_training import TrackedRecords, fit_with_interruption
from quintain.dp.randomness.generator_states import GeneratorStates
from quintain.dp.specimens import ScaledOutputs, ZeroOutputs
from quintain.dp.training.features import Features, LabeledRecords
from quintain.dp.training.fitting import fit
from quintain.dp.training.plan import PrivatePlan
from quintain.results.specification import Measurement
from quintain.training.loop import isolated_rng

BLOCK = 1 << 16
"""Size of the blocks of a parameter whose noise is measured separately."""
MAX_NUMBERS = 1 << 20
"""Most weights of a net whose noise is searched for repetitions at any lag."""
RECORDS, SUMS_OF_NET = 6, 16
"""Number of records that a net is measured with, and of sums over random subsets of them."""
EXCESS_TOLERANCE = 0.05
"""Tolerated relative excess over the bound: far more than rounding in the net's format, far less than a fault
adds.
"""
MIN_NORM_FRACTION = 0.5
"""Fraction of the bound that a record must reach: otherwise clipping had no effect to measure."""


def noise_of_net(net: nn.Module, data: LabeledRecords, plan: PrivatePlan) -> tuple[Measurement, ...]:
    """Measure the noise that ``fit`` adds to all trainable weights of a net; no record influences it.

    The noise is measured at two steps of a run whose state is saved, as ``quintain privatize`` saves it, at
    two steps after that run was interrupted and resumed, and at two of a run whose state is not saved.

    It is tested for its size, for sums and sums of squares that vary as they should, by block, by parameter
    and over all, and for repetitions, of values and of magnitudes, within a step and between steps: at any
    lag among the first 1,048,576 weights, and between the first 1,024 weights of all parameters, however
    small.

    Args:
        net: The net as it is trained; it is copied. Its outputs are multiplied by zero, so that its weights
            get noise alone.
        data: Records that the net takes.
        plan: A plan with noise.
    """
    scale = plan.noise_multiplier * plan.max_grad_norm / plan.expected_batch_size
    cut = [_blocks(p.numel()) for p in net.parameters() if p.requires_grad]
    sizes = np.concatenate(cut)
    numels = [sum(blocks) for blocks in cut]
    sums, squares, first = list[list[float]](), list[list[float]](), list[Tensor]()
    beginnings = list[npt.NDArray[np.float64]]()

    def observe(_step: int, release: Tensor) -> None:
        z = release.double() / scale
        first.append(z[:MAX_NUMBERS].cpu().clone())
        beginnings.append(first_numbers(z.cpu().numpy()[None], numels))
        blocks = z.split(sizes.tolist())
        sums.append([float(block.sum()) for block in blocks])
        squares.append([float(block.square().sum()) for block in blocks])

    for train, steps in ((fit_with_interruption, 4), (fit, 2)):
        train(ZeroOutputs(deepcopy(net)), data, replace(plan, steps=steps, ema_decay=0.0), on_step=observe)
    precision = max(torch.finfo(p.dtype).eps for p in net.parameters() if p.requires_grad)
    total, numbers = np.array(squares), len(squares) * int(sizes.sum())
    found = [
        (chi_square_test(mean, count)[0], math.sqrt(mean))
        for mean, count in zip((total / sizes).flat, np.tile(sizes, len(total)), strict=True)
    ]
    found.append((chi_square_test(total.sum() / numbers, numbers)[0], math.sqrt(total.sum() / numbers)))
    p_value, measured = min(found)
    text = (
        f"noise of {sizes.sum()} weights of the net, over that of the plan: of all, or where it differs "
        "most, by parameter"
    )
    begin = [0, *accumulate(len(blocks) for blocks in cut)][:-1]
    return (
        Measurement("noise of the net", 1.0, measured, min(1.0, len(found) * p_value), text),
        *variation_measurements(
            "noise of the net",
            np.array(sums),
            total,
            sizes,
            (np.arange(len(sizes)), np.array(begin), np.array([0])),
        ),
        *autocorrelation_measurements("noise of the net", torch.cat(first).numpy()),
        *similarity_measurements("noise of the net", np.concatenate(beginnings), numels, precision),
    )


def sensitivity_of_net(net: nn.Module, shape: Sequence[int], plan: PrivatePlan) -> Measurement | None:
    """Measure the most that one record moves the sum that ``fit`` clips, in a net's own layers and format.

    Records are random, and the net's outputs are multiplied until gradients are far above the bound. The sum
    of each batch, without noise, is solved for one term a record. If the net draws random numbers (dropout,
    or a coin for the whole batch), a record's term differs each time, so batches hold a single record. The
    effect of rounding in a net of few bits is far below ``EXCESS_TOLERANCE``; an excess below it is left to
    ``measurements``, which are in float64.

    Args:
        net: The net as it is trained; it is copied.
        shape: Shape of one record, with numbers in [0, 1].
        plan: The plan with the bound.

    Returns:
        The measurement; None if no record reaches half of the bound, such as where outputs are NaN or depend
        on no weight, since then clipping was not measured.
    """
    bound = plan.max_grad_norm
    scaled_net = ScaledOutputs(deepcopy(net).train(), 100 * max(bound, 1.0))
    device = next(net.parameters()).device
    x = torch.rand(RECORDS, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    outputs, draws = _outputs(scaled_net, x)
    count, batch = (1, 1) if draws else (RECORDS, RECORDS // 2)
    records = TrackedRecords(Features(x[:count].cpu(), outputs[:count].nan_to_num().argmin(1).cpu()))
    drawn, sums = list[npt.NDArray[np.float64]](), list[Tensor]()

    def observe(_step: int, release: Tensor) -> None:
        drawn.append(np.isin(np.arange(len(records)), records.pop_read_rows()).astype(np.float64))
        sums.append(release.cpu() * batch)

    still = PrivatePlan(0.0, bound, expected_batch_size=batch, steps=SUMS_OF_NET, learning_rate=1e-30)
    fit_with_interruption(scaled_net, records, still, on_step=observe)
    found = (
        _largest_term(np.array(drawn), torch.stack(sums).float())
        if batch > 1
        else float(torch.stack(sums).norm(dim=1).max())
    )
    if found < MIN_NORM_FRACTION * bound:
        return None
    text = f"most that one of {len(records)} records made up moves the sum of clipped gradients of the net"
    return Measurement(
        "sensitivity of the net", bound, found, float(found <= bound * (1 + EXCESS_TOLERANCE)), text
    )


def _outputs(net: nn.Module, x: Tensor) -> tuple[Tensor, bool]:
    """Return a net's outputs, and whether it draws random numbers.

    It does if a global generator has advanced, or if two passes differ, as with a generator of its own.
    """
    with torch.no_grad(), isolated_rng(x.device):
        before = GeneratorStates.now()
        one, other = net(x.clone()), net(x.clone())
        after = GeneratorStates.now()
        before.restore()
    elsewhere = [pickle.dumps((states.numpy, states.python)) for states in (before, after)]
    moved = not before.is_like(after) or elsewhere[0] != elsewhere[1]
    return one, moved or not torch.allclose(one, other, rtol=1e-3, equal_nan=True)


def _largest_term(drawn: npt.NDArray[np.float64], sums: Tensor) -> float:
    """Return the largest norm of a record's term, plus the largest residual of a sum.

    The sums (steps, numbers) are solved by least squares for one term a record. Only their inner products are
    needed, so that no more than these is kept in memory.
    """
    if not torch.isfinite(sums).all():
        return math.inf
    products = sum(
        (part.double() @ part.double().T for part in sums.split(BLOCK, dim=1)),
        torch.zeros(len(sums), len(sums)).double(),
    )
    solve = np.linalg.pinv(drawn)
    project = np.eye(len(drawn)) - drawn @ solve
    terms, residuals = (
        np.sqrt(np.einsum("ij,jk,ik->i", m, products.numpy(), m).clip(0)) for m in (solve, project)
    )
    return float(terms.max() + residuals.max())


def _blocks(size: int) -> list[int]:
    """Return the sizes of the blocks of a parameter, whose noise is measured separately."""
    return [BLOCK] * (size // BLOCK) + [size % BLOCK] * (size % BLOCK > 0)
