"""What is measured on a net of one's own: the noise of each of its weights, and clipping in its own layers,
sizes and format.
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

from quintain.core.laws import spread_p
from quintain.dp.noise_laws import alike, exact, heads, repeated
from quintain.dp.observed_training import TrackedRecords, fit_with_interruption
from quintain.dp.randomness.generator_states import GeneratorStates
from quintain.dp.specimens import ScaledOutputs, ZeroOutputs
from quintain.dp.training.features import Features, LabeledRecords
from quintain.dp.training.fitting import fit
from quintain.dp.training.plan import PrivatePlan
from quintain.results.specification import Measurement
from quintain.training.loop import isolated_rng

BLOCK = 1 << 16
"""Numbers of one parameter whose noise is measured by itself."""
FIRST = 1 << 20
"""Weights of a net of one's own among which noise is looked for that was used twice."""
RECORDS, SUMS_OF_NET = 6, 16
"""Records that a net of one's own is measured with, and sums over random parts of them."""
SLACK_OF_NET = 0.05
"""By how much of the bound a net of one's own may exceed it: far more than it rounds in its own format, far
less than a fault adds.
"""
LOUD_ENOUGH = 0.5
"""The fraction of the bound that a record must reach: below it, clipping did not act, and nothing was
measured.
"""


def noise_of_net(net: nn.Module, data: LabeledRecords, plan: PrivatePlan) -> tuple[Measurement, ...]:
    """Measure the noise on all trainable weights of a net of one's own, through ``fit``; nothing is learned
    of the records.

    It is measured at two steps of a run whose state is saved, as ``quintain privatize`` saves it, at two
    after that run was interrupted and resumed, and at two of a run whose state is not saved.

    Also whether sums and sums of squares of it vary as they should, by block, by parameter and over all; and
    whether any of it, with its signs or without, is used twice, within a step or in another: among the first
    1,048,576 weights at any distance, and the first 1,024 of each parameter, down to a single one, beside
    those of each other parameter and step.

    Args:
        net: As it is trained; it is copied. Its outputs are multiplied by zero, so that its weights get noise
            alone.
        data: What it takes.
        plan: With noise.
    """
    scale = plan.noise_multiplier * plan.max_grad_norm / plan.expected_batch_size
    cut = [_blocks(p.numel()) for p in net.parameters() if p.requires_grad]
    sizes = np.concatenate(cut)
    numels = [sum(blocks) for blocks in cut]
    sums, squares, first = list[list[float]](), list[list[float]](), list[Tensor]()
    beginnings = list[npt.NDArray[np.float64]]()

    def observe(_step: int, release: Tensor) -> None:
        z = release.double() / scale
        first.append(z[:FIRST].cpu().clone())
        beginnings.append(heads(z.cpu().numpy()[None], numels))
        blocks = z.split(sizes.tolist())
        sums.append([float(block.sum()) for block in blocks])
        squares.append([float(block.square().sum()) for block in blocks])

    for train, steps in ((fit_with_interruption, 4), (fit, 2)):
        train(ZeroOutputs(deepcopy(net)), data, replace(plan, steps=steps, ema_decay=0.0), on_step=observe)
    precision = max(torch.finfo(p.dtype).eps for p in net.parameters() if p.requires_grad)
    total, numbers = np.array(squares), len(squares) * int(sizes.sum())
    found = [
        (spread_p(mean, count)[0], math.sqrt(mean))
        for mean, count in zip((total / sizes).flat, np.tile(sizes, len(total)), strict=True)
    ]
    found.append((spread_p(total.sum() / numbers, numbers)[0], math.sqrt(total.sum() / numbers)))
    p_value, measured = min(found)
    text = (
        f"noise of {sizes.sum()} weights of the net, over that of the plan: of all, or where it differs "
        "most, by parameter"
    )
    begin = [0, *accumulate(len(blocks) for blocks in cut)][:-1]
    return (
        Measurement("noise of the net", 1.0, measured, min(1.0, len(found) * p_value), text),
        *exact(
            "noise of the net",
            np.array(sums),
            total,
            sizes,
            (np.arange(len(sizes)), np.array(begin), np.array([0])),
        ),
        *repeated("noise of the net", torch.cat(first).numpy()),
        *alike("noise of the net", np.concatenate(beginnings), numels, precision),
    )


def sensitivity_of_net(net: nn.Module, shape: Sequence[int], plan: PrivatePlan) -> Measurement | None:
    """Measure, as ``fit`` clips, the most that one record moves the clipped sum of a net of one's own: in its
    layers, sizes and format.

    Records are made up, and the net's outputs are multiplied until gradients are far above the bound. Each
    batch's sum, without noise, is taken apart into one term a record. Where the net itself draws at random
    (dropout, or a coin for the whole batch), a record's term is another one each time, so that batches hold
    one record alone. What rounding moves in a net of few bits is far below ``SLACK_OF_NET``; an excess below
    it is left to ``measurements``, which are in float64.

    It is None where no record reaches half of the bound, as where outputs are NaN or follow no weight: then
    clipping was not measured.

    Args:
        net: As it is trained; it is copied.
        shape: Of one record, with numbers in [0, 1].
        plan: Whose bound it is.
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
        _most(np.array(drawn), torch.stack(sums).float())
        if batch > 1
        else float(torch.stack(sums).norm(dim=1).max())
    )
    if found < LOUD_ENOUGH * bound:
        return None
    text = f"most that one of {len(records)} records made up moves the sum of clipped gradients of the net"
    return Measurement(
        "sensitivity of the net", bound, found, float(found <= bound * (1 + SLACK_OF_NET)), text
    )


def _outputs(net: nn.Module, x: Tensor) -> tuple[Tensor, bool]:
    """A net's outputs, and whether it draws at random: from a common generator, which then has moved, or from
    one of its own, if two passes differ.
    """
    with torch.no_grad(), isolated_rng(x.device):
        before = GeneratorStates.now()
        one, other = net(x.clone()), net(x.clone())
        after = GeneratorStates.now()
        before.restore()
    elsewhere = [pickle.dumps((states.numpy, states.python)) for states in (before, after)]
    moved = not before.is_like(after) or elsewhere[0] != elsewhere[1]
    return one, moved or not torch.allclose(one, other, rtol=1e-3, equal_nan=True)


def _most(drawn: npt.NDArray[np.float64], sums: Tensor) -> float:
    """The greatest norm of a record's term, where sums (steps, numbers) are taken for sums of one term a
    record; and what is left over.

    Worked out from the inner products of the sums, so that no more than these is held.
    """
    if not torch.isfinite(sums).all():
        return math.inf
    products = sum(
        (part.double() @ part.double().T for part in sums.split(BLOCK, dim=1)),
        torch.zeros(len(sums), len(sums)).double(),
    )
    apart = np.linalg.pinv(drawn)
    left = np.eye(len(drawn)) - drawn @ apart
    terms, rest = (np.sqrt(np.einsum("ij,jk,ik->i", m, products.numpy(), m).clip(0)) for m in (apart, left))
    return float(terms.max() + rest.max())


def _blocks(size: int) -> list[int]:
    """The parts of a parameter whose noise is measured by itself."""
    return [BLOCK] * (size // BLOCK) + [size % BLOCK] * (size % BLOCK > 0)
