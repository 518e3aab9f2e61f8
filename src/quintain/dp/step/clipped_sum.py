"""Sums of clipped gradients, and their noise, in floating point."""

from collections.abc import MutableMapping

import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.per_example.grads import PerExampleGrads
from quintain.dp.randomness.stream import RandomStream


class FloatClippedSum:
    """The clipped sum of all parameters in one flat buffer, which becomes their gradients once the noise is
    in.

    No sum without noise ever enters memory that a gradient was returned in.

    Args:
        parameters: In the order of the optimizer.

    Raises:
        PrivacyError: If they are on several devices.
    """

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        devices = {str(parameter.device) for parameter in parameters}
        if len(devices) > 1:
            raise PrivacyError(
                f"got trainable parameters on {', '.join(sorted(devices))}; expected all on one device"
            )
        self._parameters = parameters
        self._flat: Tensor | None = None

    @property
    def flat(self) -> Tensor:
        """The sums of all parameters, in the widest of their dtypes."""
        if self._flat is None:
            self._flat = self._empty_buffer().zero_()
        return self._flat

    @property
    def by_parameter(self) -> dict[nn.Parameter, Tensor]:
        """The sum of each parameter, in its shape."""
        return self._split(self.flat)

    def add(self, grads: MutableMapping[nn.Parameter, PerExampleGrads], factors: Tensor) -> None:
        """Add each example's gradient times its factor, (P, B) in the order of the parameters.

        Sums of parameters that a pass did not use stay.

        What was added is taken out of ``grads``, so that its memory is free for the next.
        """
        accumulate = self._flat is not None
        self._flat = self._empty_buffer() if self._flat is None else self._flat
        for (parameter, into), factor in zip(self._split(self._flat).items(), factors, strict=True):
            if (gradient := grads.pop(parameter, None)) is not None:
                gradient.add_weighted_sum_to(into, factor, accumulate)
            elif not accumulate:
                into.zero_()
            del gradient

    def clear(self) -> None:
        """Begin a new sum, in other memory than the gradients that were returned."""
        for parameter in self._parameters:
            parameter.grad = None
        self._flat = None

    def add_noise(self, stream: RandomStream | None, std: float, divisor: int) -> None:
        """Add independent Gaussian noise to every number, if there is a stream for it, and divide."""
        if stream is None:
            self.flat.mul_(1 / divisor)
        else:
            stream.add_gaussian(self.flat, std, divisor)

    def to_gradients(self) -> dict[nn.Parameter, Tensor]:
        """The noisy mean as gradients, in the parameters' own dtypes; then begin a new sum."""
        found = {parameter: part.to(parameter.dtype) for parameter, part in self.by_parameter.items()}
        self._flat = None
        return found

    def _empty_buffer(self) -> Tensor:
        dtype = max(
            (parameter.dtype for parameter in self._parameters), key=lambda dtype: torch.finfo(dtype).bits
        )
        count = sum(parameter.numel() for parameter in self._parameters)
        return torch.empty(count, dtype=dtype, device=self._parameters[0].device)

    def _split(self, flat: Tensor) -> dict[nn.Parameter, Tensor]:
        parts = flat.split([parameter.numel() for parameter in self._parameters])
        return {
            parameter: part.view_as(parameter)
            for parameter, part in zip(self._parameters, parts, strict=True)
        }
