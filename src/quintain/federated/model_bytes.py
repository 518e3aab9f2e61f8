"""A model as bytes between server and client: safetensors, which hold no code, checked against an own net."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from quintain.core.errors import ProtocolError
from quintain.federated.local import trainable
from quintain.federated.secagg.primitives import tagged_hash
from quintain.models.copies import copy_net

MAX_SHOWN = 3


def pack_model(net: nn.Module) -> bytes:
    """Return a net's state dict as safetensors; the same bytes for the same weights."""
    from safetensors.torch import save

    return save({name: value.detach().cpu().contiguous().clone() for name, value in net.state_dict().items()})


def open_model(data: bytes, own: nn.Module) -> nn.Module:
    """Return a copy of one's own net with the weights of a server, if they fit it in everything but values.

    The layers are those of the own net: no program comes from the server, only numbers.

    Args:
        data: As ``pack_model`` makes it.
        own: The net that this party has agreed to train; it is not touched.

    Raises:
        ProtocolError: If names, shapes or types differ, a number is not finite, or the bytes are something
            else.
    """
    expected = own.state_dict()
    weights = _read(data, sum(value.nbytes for value in expected.values()))
    problems = [
        f"{what}: {', '.join(names[:MAX_SHOWN])}{' and others' if len(names) > MAX_SHOWN else ''}"
        for what, names in _differences(weights, expected).items()
        if names
    ]
    if problems:
        raise ProtocolError(
            f"the server sends another model than {type(own).__name__}: {'; '.join(problems)}; expected the "
            "names, shapes and types of this site's own net, and finite numbers: leave this round"
        )
    net = copy_net(own)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            value.copy_(weights[name].to(value.device))
    return net


def model_digest(net: nn.Module) -> bytes:
    """Hash names, shapes, dtypes and values of all parameters and buffers.

    Those outside of ``state_dict`` are included.
    """
    parts: list[bytes | memoryview] = []
    for name, value in (*net.named_parameters(), *net.named_buffers()):
        plain = value.detach().cpu().contiguous()
        content = plain.flatten().view(torch.uint8).numpy().data if plain.numel() else b""
        parts += [name.encode(), str(tuple(plain.shape)).encode(), str(plain.dtype).encode(), content]
    return tagged_hash("model", *parts)


@torch.no_grad()
def add_update(net: nn.Module, change: Tensor) -> None:
    """Add a change (length,) in float64 to the trainable weights of a net, in place."""
    for parameter, moved in moved_weights(net, change):
        parameter.copy_(moved)


@torch.no_grad()
def moved_weights(net: nn.Module, change: Tensor) -> Iterator[tuple[nn.Parameter, Tensor]]:
    """Yield each trainable weight of a net, and what a change (length,) in float64 makes of it."""
    # w + change, computed in float64, rounded once to the parameter's dtype.
    start = 0
    for _, parameter in trainable(net):
        old = parameter.cpu().numpy()
        moved = old.astype(np.float64)
        moved += change[start : start + parameter.numel()].view_as(parameter).numpy()
        yield parameter, torch.from_numpy(moved.astype(old.dtype)).to(parameter.device)
        start += parameter.numel()


def _read(data: bytes, size: int) -> Mapping[str, Tensor]:
    """Return the tensors in some bytes, which are not much more than those expected."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    most = 2 * size + 2**20
    if len(data) > most:
        raise ProtocolError(
            f"a model of {len(data)} bytes; expected about {size}, and no more than {most}: leave this round"
        )
    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ProtocolError(
            f"a model of {len(data)} bytes that are no safetensors ({error}); leave this round"
        ) from None


def _differences(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Name what makes some weights another model's, by kind."""
    both = [name for name in expected if name in weights]
    fitting = [
        name
        for name in both
        if weights[name].shape == expected[name].shape and weights[name].dtype == expected[name].dtype
    ]
    return {
        "missing": sorted(expected.keys() - weights.keys()),
        "unexpected": sorted(weights.keys() - expected.keys()),
        "of another shape": [
            f"{name} {tuple(weights[name].shape)} for {tuple(expected[name].shape)}"
            for name in both
            if weights[name].shape != expected[name].shape
        ],
        "of another type": [
            f"{name} {weights[name].dtype} for {expected[name].dtype}"
            for name in both
            if weights[name].dtype != expected[name].dtype
        ],
        "not finite": [
            name for name in fitting if weights[name].is_floating_point() and not _is_finite(weights[name])
        ],
    }


def _is_finite(weights: Tensor) -> bool:
    """Whether all numbers of a tensor on this machine are finite; by NumPy, which is faster, where it can."""
    if weights.dtype in (torch.float32, torch.float64):
        return bool(np.isfinite(weights.numpy()).all())
    return bool(weights.isfinite().all())
