"""Whether an imported net is the net of its file: held against onnxruntime, and batches against examples."""

from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn

from quintain.core.errors import ModelError
from quintain.models.onnx_net.net import OnnxNet, OperatorStep
from quintain.models.onnx_net.session import onnxruntime_function

INPUT_SIZES = (1.0, 10.0, 100.0)
"""How large the numbers of random inputs are, beside those from 0 to 1."""

ROUNDINGS = 256
"""Of how many roundings an output may differ: relative changes of weights and values, in units of epsilon."""

SMOOTH_LAYERS = (nn.Sigmoid, nn.Tanh, nn.GELU)
SMOOTH_FUNCTIONS = (torch.softmax, torch.log_softmax)
"""Operators that runtimes approximate: their errors are relative to 1 or to the input, not to the result."""

SMOOTH_ROUNDINGS = 16
"""Of how many roundings, relative to 1 and the input, they may be."""

CHANGES = 5
"""Random changes of that size, by which it is measured how much the outputs follow them."""

MARGIN = 4.0
"""How many times as much as they follow the outputs may differ."""


def random_inputs(net: OnnxNet) -> Tensor:
    """Draw inputs at which a net is held against its file: three from 0 to 1, and two of each larger size."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(3, *net.input_shape, generator=generator)
    others = [size * (2 * torch.rand(2, *net.input_shape, generator=generator) - 1) for size in INPUT_SIZES]
    return torch.cat([pictures, *others]).to(net.dtype)


def require_same_outputs(net: OnnxNet, path: Path, x: Tensor) -> None:
    """Refuse a net that answers otherwise in a batch than alone, or than onnxruntime does.

    Where onnxruntime is not installed, batches alone are compared.

    Each output may differ at each input by what rounding explains: by ``MARGIN`` times what it moves where
    all weights and all values between change at random by ``ROUNDINGS`` times epsilon of their size.

    Args:
        net: The net.
        path: Of its file.
        x: Inputs (B, *S).

    Raises:
        ModelError: If it does.
    """
    with torch.no_grad():
        found = net(x).flatten(1)
        alone = torch.cat([net(one[None]).flatten(1) for one in x])
    allowed = _allowed_differences(net, x)
    if not _same(found, alone, allowed):
        raise ModelError(
            f"{path}: the imported net gives an example something else in a batch than alone; please report "
            "the file"
        )
    run = onnxruntime_function(path)
    if run is None:
        return
    expected = torch.from_numpy(run(x.numpy()))
    if not _same(found, expected, allowed):
        raise ModelError(
            f"{path}: the imported net gives other outputs than onnxruntime "
            f"({tuple(found.shape)} and {tuple(expected.shape)}); please report the file"
        )


def _allowed_differences(net: OnnxNet, x: Tensor) -> Tensor:
    """Return how much each output may differ at each of the inputs, (B, m)."""
    eps = torch.finfo(x.dtype).eps
    relative = ROUNDINGS * eps
    generator = torch.Generator().manual_seed(1)

    def signs(value: Tensor) -> Tensor:
        return torch.randint(0, 2, value.shape, generator=generator, dtype=torch.float64) * 2 - 1

    def change(value: Tensor) -> Tensor:
        return value * (1 + relative * signs(value)) if value.is_floating_point() else value

    def change_step(step: OperatorStep, given: Tensor, value: Tensor) -> Tensor:
        is_smooth = step.function in SMOOTH_FUNCTIONS
        if step.layer:
            is_smooth = isinstance(exact.layers[step.layer], SMOOTH_LAYERS)
        error = SMOOTH_ROUNDINGS * eps * (1 + given.abs()) * signs(value) if is_smooth else 0.0
        return change(value) + error

    exact = deepcopy(net).double()
    expected = exact(x.double()).flatten(1)
    moved = torch.full_like(expected, torch.finfo(x.dtype).tiny / relative)
    for _ in range(CHANGES):
        changed = deepcopy(exact)
        for tensor in (*changed.parameters(), *changed.buffers()):
            tensor.data = change(tensor.data)
        values = changed.values(x.double(), change_step)
        # where an output is infinite or NaN, nothing is known of how far it may move
        distance = (values[net.output_name].flatten(1) - expected).abs().nan_to_num(nan=torch.inf)
        moved = torch.maximum(moved, distance)
    return MARGIN * moved


def _same(found: Tensor, expected: Tensor, allowed: Tensor) -> bool:
    """Whether outputs (B, m) differ by no more than is allowed, or are infinite or NaN on both sides."""
    if found.shape != expected.shape:
        return False
    are_close = (found.double() - expected.double()).abs() <= allowed
    return bool((are_close | ~(found.isfinite() | expected.isfinite())).all())
