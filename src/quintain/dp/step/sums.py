"""Sums of clipped gradients, and their noise, in floating point."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.gradients.forms import PerExample
from quintain.dp.step.noise import Stream


class FloatSums:
    """One flat buffer for the sums of all parameters.

    Args:
        parameters: In the order of the optimiser.

    Raises:
        PrivacyError: If they are on several devices.
    """

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        devices = {str(parameter.device) for parameter in parameters}
        if len(devices) > 1:
            raise PrivacyError(f"got trainable parameters on {', '.join(sorted(devices))}; expected all on one device")
        self._parameters = parameters
        self._flat: Tensor | None = None
        self._means: Tensor | None = None

    @property
    def flat(self) -> Tensor:
        """All sums, in the widest of the parameters' formats."""
        device, count = self._parameters[0].device, sum(parameter.numel() for parameter in self._parameters)
        if self._flat is None or self._flat.device != device:
            dtype = max((parameter.dtype for parameter in self._parameters), key=lambda dtype: torch.finfo(dtype).bits)
            self._flat = torch.zeros(count, dtype=dtype, device=device)
        return self._flat

    @property
    def by_parameter(self) -> dict[nn.Parameter, Tensor]:
        """Each in the shape of its parameter."""
        return self._parts(self.flat)

    def add(self, found: Mapping[nn.Parameter, PerExample], factors: Sequence[Tensor]) -> None:
        """Add each example's gradient times its factor, (B,) for each parameter; those that a pass did not use stay."""
        for (parameter, into), factor in zip(self.by_parameter.items(), factors, strict=True):
            if parameter in found:
                found[parameter].add_to(into, factor)

    def clear(self) -> None:
        """Back to zero."""
        for parameter in self._parameters:
            parameter.grad = None
        if self._flat is not None:
            self._flat.zero_()

    def add_noise(self, stream: Stream, scale: float) -> None:
        """Independent Gaussian noise for every parameter."""
        stream.add_normal(self.flat, scale)

    def divided(self, by: int) -> dict[nn.Parameter, Tensor]:
        """The sums over a number, in the parameters' own formats; in memory of their own, which no sum without noise ever enters."""
        if self._means is None or self._means.device != self.flat.device:
            self._means = torch.empty_like(self.flat)
        torch.div(self.flat, by, out=self._means)
        return {parameter: part.to(parameter.dtype) for parameter, part in self._parts(self._means).items()}

    def _parts(self, flat: Tensor) -> dict[nn.Parameter, Tensor]:
        parts = flat.split([parameter.numel() for parameter in self._parameters])
        return {parameter: part.view_as(parameter) for parameter, part in zip(self._parameters, parts, strict=True)}
