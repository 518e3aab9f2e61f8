"""Clipped sums in secure mode: integer multiples of a grid step, summed exactly, with discrete Gaussian
noise.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.per_example.grads import PerExampleGrads
from quintain.dp.per_example.numerics import flatten_examples
from quintain.dp.randomness.discrete_gaussian import VARIANCE, discrete_gaussian
from quintain.dp.randomness.stream import RandomStream
from quintain.dp.step.clipping import ClippingMethod
from quintain.dp.step.noise import noise_std_of_sum

CHUNK = 1 << 16
"""Numbers that are rounded, or get noise, at a time."""
ROUNDING_ALLOWANCE = 1 - 2.0**-18
"""Allowance for norms that are a millionth above their bound."""


class DiscreteClippedSum:
    r"""The clipped sum of all parameters in integers, for secure mode, in one flat buffer.

    .. math:: \tilde S = u \Big(\sum_i k_i + \mathcal{N}_{\mathbb{Z}}(0, s^2)\Big), \qquad
        k_i = \mathrm{round}(f_i g_i / u), \quad \|k_i\|_2 \le \Delta

    Rounding moves a gradient by at most :math:`\sqrt d / 2` steps, for which the grid step u leaves room:
    :math:`u = C / (\Delta - \sqrt d / 2)`; each rounded gradient's norm is then checked in exact arithmetic,
    and one that is too long (none, unless norms were wrong) adds nothing. The sum of integers has no
    rounding, so one record moves it by at most :math:`\Delta = \lfloor s / \sigma \rfloor`.

    Args:
        parameters: In the order of the optimizer.
        noise_multiplier: sigma, at least 0.25.
        sensitivity: C, the bound that gradients are clipped to, over all parameters together.

    Guarantee: that of the discrete Gaussian (``accounting.rdp.poisson_gaussian_rdp``,
    ``Release(mechanism="discrete gaussian")``) for the integers, whatever the scale and division afterwards;
    never that of the Gaussian's privacy losses.

    Raises:
        SettingError: If sigma is too small, or so large that the grid is too coarse for so many parameters.
        PrivacyError: If the parameters are on several devices.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], *, noise_multiplier: float, sensitivity: float
    ) -> None:
        if not (0.25 <= noise_multiplier < math.inf and 0 < sensitivity < math.inf):
            raise SettingError(
                f"got noise_multiplier = {noise_multiplier} and a bound of {sensitivity}; expected at least "
                "0.25 and a positive finite bound for secure noise: below that there is little privacy to "
                "secure"
            )
        devices = {str(parameter.device) for parameter in parameters}
        if len(devices) > 1:
            raise PrivacyError(
                f"got trainable parameters on {', '.join(sorted(devices))}; expected all on one device"
            )
        self._parameters = list(parameters)
        # floor(s / sigma), exactly
        self.max_grid_norm = math.isqrt(int(VARIANCE / Fraction(noise_multiplier) ** 2))
        total = sum(parameter.numel() for parameter in parameters)
        # rounding lengthens a gradient by at most sqrt(d) / 2 grid steps: leave room for it
        available_norm = self.max_grid_norm - math.sqrt(total) / 2
        if available_norm < self.max_grid_norm / 2:
            raise SettingError(
                f"got noise_multiplier = {noise_multiplier} for {total} parameters, where rounding to the "
                "grid would cost half the signal; expected less noise or fewer parameters, or "
                "secure_mode=False"
            )
        self.grid_step = sensitivity / (available_norm * ROUNDING_ALLOWANCE)
        self._flat = torch.zeros(total, dtype=torch.int64, device=parameters[0].device)
        self._divisor = 1

    @property
    def flat(self) -> Tensor:
        """The sums of all parameters in grid steps, int64."""
        return self._flat

    @property
    def by_parameter(self) -> dict[nn.Parameter, Tensor]:
        """The sum of each parameter in its shape, in grid steps."""
        parts = self._flat.split([parameter.numel() for parameter in self._parameters])
        return {
            parameter: part.view_as(parameter)
            for parameter, part in zip(self._parameters, parts, strict=True)
        }

    def clear(self) -> None:
        """Begin a new sum."""
        self._flat.zero_()
        for parameter in self._parameters:
            parameter.grad = None

    def add(self, grads: Mapping[nn.Parameter, PerExampleGrads], factors: Tensor) -> Tensor:
        """Add each example's gradient times its factor, rounded to the grid.

        Args:
            grads: By parameter; those that the pass did not use may be missing.
            factors: (P, B) float64, in the order of the parameters, such that the products' norms over all of
                these are at most ``sensitivity``.

        Returns:
            Which examples were left out because they were longer than that, or not finite, (B,) bool.
        """
        weights = dict(zip(self._parameters, factors, strict=True))
        # first pass: exact squared norms of the rounded gradients (integers below 2^53); second: add those
        # within the bound. Twice the work, half the memory
        kept = torch.ones(len(factors[0]), dtype=torch.bool, device=self._flat.device)
        squares = torch.zeros(len(kept), dtype=torch.float64, device=self._flat.device)
        for parameter, gradients in grads.items():
            for _, whole in self._rounded_columns(gradients, weights[parameter], kept):
                squares += whole.square().sum(1)
        kept = squares <= float(self.max_grid_norm) ** 2
        into = self.by_parameter
        for parameter, gradients in grads.items():
            for columns, whole in self._rounded_columns(gradients, weights[parameter], kept):
                into[parameter].view(-1)[columns] += whole.sum(0).to(torch.int64)
        return ~kept

    def add_noise(self, stream: RandomStream | None, std: float, divisor: int) -> None:  # noqa: ARG002
        """Add discrete Gaussian noise to every number, if there is a stream for it; division comes later.

        Its size is the grid's own, whatever ``std``.
        """
        self._divisor = divisor
        if stream is None:
            return
        for piece in self._flat.split(CHUNK):
            piece += torch.from_numpy(discrete_gaussian(len(piece), stream)).to(piece.device)

    def to_gradients(self) -> dict[nn.Parameter, Tensor]:
        """The noisy mean as gradients, in the parameters' own units and dtypes."""
        step = self.grid_step / self._divisor
        return {
            parameter: (part.double() * step).to(parameter.dtype)
            for parameter, part in self.by_parameter.items()
        }

    def _rounded_columns(
        self, gradients: PerExampleGrads, factors: Tensor, kept: Tensor
    ) -> Iterator[tuple[slice, Tensor]]:
        """Columns of the rows rounded to integers, in float64, where squares and sums are exact; zero if not
        kept.
        """
        rows, steps = flatten_examples(gradients.to_dense()), (factors / self.grid_step)[:, None]
        width = max(1, CHUNK // max(1, len(rows)))
        for start in range(0, rows.shape[1], width):
            columns = slice(start, start + width)
            whole = (rows[:, columns].double() * steps).round_()
            yield columns, whole if bool(kept.all()) else whole.masked_fill_(~kept[:, None], 0)


def discrete_sum_for(
    parameters: Sequence[nn.Parameter], clip: ClippingMethod, noise_multiplier: float
) -> DiscreteClippedSum:
    """The clipped sum on the grid that fits this noise."""
    bound = clip.sensitivity
    return DiscreteClippedSum(
        parameters, noise_multiplier=noise_std_of_sum(clip, noise_multiplier) / bound, sensitivity=bound
    )
