"""A fake accelerator on the CPU: its tensors have another device, and refuse to be mixed with the CPU's."""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

FAKE_DEVICE = torch.device("cpu", 1)
"""The device that tensors of the fake accelerator name as their own.

PyTorch makes all tensors of the CPU on ``cpu``, without a number, and computes on ``cpu:1`` as on it.
"""

FROM_VALUES = {torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor}
"""Functions that make a tensor before it is put on its device, unseen by a dispatch mode."""

READ = {Tensor.tolist, Tensor.data_ptr}
"""Functions that read memory, which an accelerator's tensors allow as well."""

COPIES = {torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default}
"""Operations that may take tensors of two devices."""


PLAIN = {int, float, bool, str, type(None), torch.dtype, torch.device}
"""Kinds of arguments that hold no tensor."""

NOT_THE_CALLER = (str(Path(torch.__file__).parent), __file__)
"""Files in which an operation is carried out, and none asked for."""

Result = TypeVar("Result")


class MixedDevicesError(RuntimeError):
    """An operation on tensors of two devices, which fails on every accelerator."""


class FakeDeviceTensor(Tensor):
    """A tensor of the fake accelerator; made by ``.to(FAKE_DEVICE)`` or ``device=FAKE_DEVICE``.

    Args:
        held: The plain tensor with the values.
    """

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "FakeDeviceTensor":
        # In inference mode its views would be tensors of that mode, and it is none.
        if torch.is_inference_mode_enabled():
            with torch.inference_mode(False):
                return cls.__new__(cls, held)
        made: FakeDeviceTensor = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=FAKE_DEVICE,
        )
        made.held = held
        return made

    def __repr__(self, *, tensor_contents: object = None) -> str:  # type: ignore[override]
        return f"FakeDeviceTensor({self.held!r})"

    # ``Module.to`` asks for these two before it exchanges the weights for tensors of a class like this one.

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(inner: Mapping[str, Tensor], *_: object) -> "FakeDeviceTensor":
        return FakeDeviceTensor(inner["held"])

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in READ:
            return func(args[0].held, *args[1:], **(kwargs or {}))
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return _run(func, args, kwargs or {})


@contextmanager
def fake_device() -> Iterator[torch.device]:
    """Let tensors be made on, and moved to, the fake accelerator within a ``with`` block.

    Every operation that mixes its tensors with those of the CPU fails, but for single numbers (0-dim), which
    accelerators take as well. Unlike some of them it also takes no index from the CPU, for which they would
    wait, and no generator of the CPU. Values are those of the CPU, so that results can be compared bit for
    bit.

    Yields:
        The device: ``net.to(device)``, ``torch.zeros(3, device=device)``.
    """
    with _FromValues(), _Factories():
        yield FAKE_DEVICE


class _FromValues(TorchFunctionMode):
    """Move what is made of values to the fake device in a step that the dispatch mode sees."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in FROM_VALUES:
            own = args[0].device if func is Tensor.new_tensor else None
            if _is_fake(kwargs.get("device", own)):
                made: Tensor = func(*args, **{**kwargs, "device": "cpu"})
                return made.to(FAKE_DEVICE)
        return func(*args, **kwargs)


class _Factories(TorchDispatchMode):
    """See the operations that have no tensor of the fake device yet, such as ``zeros(device=...)``."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled():
            # Autograd, which takes composed operations apart, is then left out.
            with self:
                found = func.decompose(*args, **kwargs)
            if found is not NotImplemented:
                return found
        return _run(func, args, kwargs)


def _run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run an operation on the values, and put the result on the device that an accelerator would have."""
    tensors = _tensors((*args, *kwargs.values()) if kwargs else args)
    fakes = [tensor for tensor in tensors if type(tensor) is FakeDeviceTensor]
    if len(fakes) < len(tensors) and any(map(_dispatches_itself, tensors)):
        return NotImplemented if fakes else func(*args, **kwargs)
    device = kwargs.get("device")
    on_fake = bool(fakes) if device is None else _is_fake(device)
    if not fakes and not on_fake:
        return func(*args, **kwargs)
    if func not in COPIES:
        _refuse_mixture(func, tensors, kwargs)
    inner_args = [_replaced(FakeDeviceTensor, _held, value) for value in args]
    inner_kwargs = {name: _replaced(FakeDeviceTensor, _held, value) for name, value in kwargs.items()}
    if device is not None and on_fake:
        inner_kwargs["device"] = torch.device("cpu")
    found = func(*inner_args, **inner_kwargs)
    if func is torch.ops.aten.copy_.default:
        return args[0]
    if not on_fake:
        return found
    wrapped = _replaced(Tensor, FakeDeviceTensor, found)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if fakes and _aliases(func) else wrapped


@cache
def _aliases(func: Any) -> bool:
    """Whether what an operation returns may share memory with what it is given."""
    schema = func._schema
    return any(one.alias_info is not None for one in (*schema.arguments, *schema.returns))


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    """Return the tensors among an operation's arguments, which are in lists and tuples at most."""
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


def _replaced(kind: type[Tensor], change: Callable[[Any], Tensor], value: Any) -> Any:
    """Return the same arguments, or results, with each tensor of a class replaced.

    An operation has them in lists, tuples and mappings at most; PyTorch's ``tree_map_only``, which knows more
    kinds, would take most of a test's time.
    """
    if isinstance(value, Tensor):
        return change(value) if isinstance(value, kind) else value
    if type(value) in PLAIN:
        return value
    if isinstance(value, list | tuple):
        changed = (_replaced(kind, change, one) for one in value)
        return type(value)(*changed) if hasattr(value, "_fields") else type(value)(changed)
    if isinstance(value, dict):
        return {name: _replaced(kind, change, one) for name, one in value.items()}
    return value


def _held(tensor: FakeDeviceTensor) -> Tensor:
    return tensor.held


def _refuse_mixture(func: Any, tensors: Sequence[Tensor], kwargs: Mapping[str, Any]) -> None:
    """Raise if an operation takes tensors of both devices, or draws from a generator of the CPU.

    Raises:
        MixedDevicesError: If so, with their shapes.
    """
    stray = [tensor for tensor in tensors if type(tensor) is not FakeDeviceTensor and tensor.ndim]
    if stray:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in stray)
        raise MixedDevicesError(f"{func} got a tensor of the CPU {shapes} beside one of {FAKE_DEVICE}")
    if kwargs.get("generator") is not None:
        raise MixedDevicesError(f"{func} got a generator of the CPU for a tensor on {FAKE_DEVICE}")


def _dispatches_itself(tensor: Tensor) -> bool:
    """Whether a tensor is of another class that carries operations out itself."""
    own = type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__
    return own and not isinstance(tensor, FakeDeviceTensor)


def _is_fake(device: Any) -> bool:
    return device is not None and torch.device(device) == FAKE_DEVICE


def on_device(run: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    """Return what a call returns; raise an ``AssertionError`` where it mixes tensors of two devices.

    Args:
        run: What is called, within ``fake_device``.
        args, kwargs: With what.

    Raises:
        AssertionError: If it mixes them, with the operation and the line that did.
    """
    try:
        return run(*args, **kwargs)
    except Exception as error:
        mixed: BaseException | None = error
        while mixed is not None and not isinstance(mixed, MixedDevicesError):
            mixed = mixed.__cause__ or mixed.__context__
        if mixed is None:
            raise
        raise AssertionError(
            f"expected tensors of one device; got a mixture: {mixed}, {_line(mixed)}"
        ) from error


def _line(error: BaseException) -> str:
    """Return the line that called for an operation: the last that is neither torch's nor the fake's."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(NOT_THE_CALLER)]
    return f"{own[-1].filename}, line {own[-1].lineno}: {own[-1].line}" if own else "nowhere"
