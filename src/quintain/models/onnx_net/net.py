"""A net that was read from an ONNX file: one step an operator, each a layer or a function of tensors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Function = Callable[..., Tensor]
"""``(values, ...) -> value``."""


@dataclass(frozen=True, slots=True)
class OperatorStep:
    """One operator.

    Args:
        inputs: Names of the values that it is given; those of tensors of the file are the net's buffers.
        output: Name of the value that it gives.
        layer: Name of the net's layer that computes it; empty for a function.
        function: What computes it; None for a layer.
        settings: What the function takes behind the values.
    """

    inputs: tuple[str, ...]
    output: str
    layer: str = ""
    function: Function | None = None
    settings: tuple[Any, ...] = ()


Change = Callable[[OperatorStep, Tensor, Tensor], Tensor]
"""``(step, its first input, what it gives) -> what others are given``."""


class OnnxNet(nn.Module):
    """The operators of an ONNX file in order, as torch's own layers and functions, in evaluation mode.

    Args:
        input_name, output_name: Of the file.
        input_shape: Of one example.
        steps: The operators.
        layers: Those that are layers, by name.
        tensors: Tensors of the file that steps are given, by name.
    """

    def __init__(
        self,
        input_name: str,
        output_name: str,
        input_shape: Sequence[int],
        steps: Sequence[OperatorStep],
        layers: dict[str, nn.Module],
        tensors: dict[str, Tensor],
    ) -> None:
        super().__init__()
        self.input_name, self.output_name = input_name, output_name
        self.input_shape, self.steps = tuple(input_shape), tuple(steps)
        self.layers = nn.ModuleDict(layers)
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights and tensors; float32 if it has none that are floating-point."""
        tensors = (*self.parameters(), *self.buffers())
        return next((one.dtype for one in tensors if one.is_floating_point()), torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` is (B, *input_shape), or as many numbers an example; returns the file's output for each."""
        return self.values(x)[self.output_name]

    def values(self, x: Tensor, change: Change | None = None) -> dict[str, Tensor]:
        """Return what each operator gives for ``x``, by the names of the file.

        Args:
            x: Inputs.
            change: Applied to what an operator gives before others are given it.
        """
        values = {self.input_name: x.reshape(x.shape[0], *self.input_shape)}
        for step in self.steps:
            given = [values[name] if name in values else getattr(self, name) for name in step.inputs]
            if step.function is None:
                found = self.layers[step.layer](*given)
            else:
                found = step.function(*given, *step.settings)
            values[step.output] = found if change is None else change(step, given[0], found)
        return values
