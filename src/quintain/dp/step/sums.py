"""Sums of clipped gradients, and their noise, in floating point."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.gradients.forms import PerExample
from quintain.dp.step.noise import Stream


class FloatSums:
    """One flat buffer for the sums of all parameters, which become their gradients once the noise is in: no sum without noise ever enters
    memory that a gradient was handed out in.

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
        parts = self.flat.split([parameter.numel() for parameter in self._parameters])
        return {parameter: part.view_as(parameter) for parameter, part in zip(self._parameters, parts, strict=True)}

    def add(self, found: Mapping[nn.Parameter, PerExample], factors: Sequence[Tensor]) -> None:
        """Add each example's gradient times its factor, (B,) for each parameter; those that a pass did not use stay."""
        for (parameter, into), factor in zip(self.by_parameter.items(), factors, strict=True):
            if parameter in found:
                found[parameter].add_to(into, factor)

    def clear(self) -> None:
        """Begin anew, in other memory than what was handed over."""
        for parameter in self._parameters:
            parameter.grad = None
        self._flat = None

    def release(self, stream: Stream | None, scale: float, by: int) -> None:
        """Add independent Gaussian noise to every number, if there is a stream for it, and divide."""
        if stream is None:
            self.flat.div_(by)
        else:
            stream.add_normal(self.flat, scale, by)

    def handed_over(self) -> dict[nn.Parameter, Tensor]:
        """What was released, in the parameters' own formats; the sums then begin anew."""
        found = {parameter: part.to(parameter.dtype) for parameter, part in self.by_parameter.items()}
        self._flat = None
        return found
