"""One operator of a file of ONNX, as it is read, and what it becomes in torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from quintain.core.errors import ModelError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Node:
    """One operator of a file.

    Args:
        kind: Its name in ONNX.
        label: What messages call it.
        settings: Its attributes.
        inputs: What it is given: a constant, or the value for an example of zeros (1, *S); None for none.
        opset: Version of the operator set.
    """

    kind: str
    label: str
    settings: dict[str, Any]
    inputs: tuple[Array | Tensor | None, ...]
    opset: int

    def refuse(self, what: str, expected: str) -> ModelError:
        """Return the error that names the operator and what to do."""
        return ModelError(
            f"{self.label} ({self.kind}) {what}; expected {expected}. Export the net anew, write it as a "
            "torch.nn.Module (--model net.py:make), or certify by answers alone (--certifier smoothing)"
        )

    def value(self, at: int) -> Tensor:
        """Return the computed value that it is given at a position."""
        found = self.inputs[at] if at < len(self.inputs) else None
        if not isinstance(found, Tensor):
            raise self.refuse(f"has no computed value at input {at}", "one there")
        return found

    def constant(self, at: int, name: str = "") -> Array | None:
        """Return the constant at a position, None where there is none; of an attribute where it was one."""
        if at < len(self.inputs) and self.inputs[at] is not None:
            found = self.inputs[at]
            if isinstance(found, Tensor):
                raise self.refuse(f"computes its input {at}", "a constant there")
            return found
        return np.asarray(self.settings[name]) if name in self.settings else None

    def number(self, name: str, default: float) -> float:
        """Return an attribute that is a number: float32 in every file, and its default in ONNX, too."""
        return float(np.float32(self.settings.get(name, default)))

    def numbers(self, at: int, name: str = "") -> list[int] | None:
        """Return whole numbers of a constant or an attribute, None where there are none."""
        found = self.constant(at, name)
        return None if found is None else [int(number) for number in found.reshape(-1)]

    def require(self, name: str, *allowed: Any) -> None:
        """Refuse an attribute of another value than these.

        Raises:
            ModelError: If it has one.
        """
        value = self.settings.get(name, allowed[0])
        if value not in allowed:
            raise self.refuse(f"has {name} = {value}", " or ".join(map(str, allowed)))


@dataclass(frozen=True, slots=True)
class ConvertedNode:
    """The conversion of an operator: a layer, or a function of some of its inputs and further settings."""

    layer: nn.Module | None = None
    function: Callable[..., Tensor] | None = None
    settings: tuple[Any, ...] = ()
    inputs: tuple[int, ...] = (0,)
