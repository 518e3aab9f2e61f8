"""Noise that floating point cannot give away: whole multiples of a grid step, summed exactly, with discrete Gaussian noise."""

import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.per_example.grads import PerExampleGrads
from quintain.dp.per_example.numerics import flatten_examples
from quintain.dp.step.noise import Stream

Integers = npt.NDArray[np.int64]

BITS = 24
STRETCH = 1 << BITS
"""Length of one stretch of proposals; the noise's standard deviation is the largest for which they cover it, about 2^23.76."""
VARIANCE = 203_036_000_000_000
"""Of the noise, in squared grid steps: below ``STRETCH**2 / (2 * ln 2)``."""
LARGEST = 1 << 26
"""A sensitivity up to which sums of squares are exact in float64."""
MARGIN = 2.0**-40
"""Relative error of an acceptance probability in float64: far above what its formula can have."""
AT_ONCE = 1 << 16
SLACK = 1 - 2.0**-18
"""For norms that are a millionth above what they were clipped to."""


def discrete_gaussian(count: int, stream: Stream) -> Integers:
    r"""``count`` independent whole numbers with the discrete Gaussian distribution.

    .. math:: \Pr[X = x] \propto e^{-x^2 / 2 s^2}, \qquad s^2 = \mathtt{VARIANCE}

    Rejection, as in the discrete case of Canonne, Kamath and Steinke, from a proposal made of bits alone: a sign, a stretch v with
    probability 2^-(v+1), and a uniform place in it, so that x is accepted with probability :math:`2^v e^{-x^2 / 2 s^2} \le 1`. A uniform
    real number is compared with that: in floating point where the two differ by more than all its errors, else digit by digit.

    Guarantee: exact, but that no x of 31 stretches or more (a probability below 2^-990 each) is ever proposed. The time that it takes
    depends on the draws, not on data.

    Source: Canonne, Kamath, Steinke, 2020, arXiv:2004.00010.
    """
    out = np.empty(count, dtype=np.int64)
    done = 0
    while done < count:
        found = _accepted(min(2 * (count - done) + 64, AT_ONCE), stream)[: count - done]
        out[done : done + len(found)] = found
        done += len(found)
    return out


class DiscreteSums:
    r"""One flat buffer of whole numbers for the sums of all parameters: what ``secure`` training adds up and releases.

    .. math:: \tilde S = u \Big(\sum_i k_i + \mathcal{N}_{\mathbb{Z}}(0, s^2)\Big), \qquad
        k_i = \mathrm{round}(f_i g_i / u), \quad \|k_i\|_2 \le \Delta

    Rounding moves a gradient by at most :math:`\sqrt d / 2` steps, for which the grid step u leaves room:
    :math:`u = C / (\Delta - \sqrt d / 2)`; each rounded gradient's norm is then checked in exact arithmetic, and one that is too long
    (none, unless norms were wrong) adds nothing. The sum of whole numbers has no rounding, so one record moves it by at most
    :math:`\Delta = \lfloor s / \sigma \rfloor`.

    Args:
        parameters: In the order of the optimizer.
        noise_multiplier: sigma, at least 0.25.
        sensitivity: C, the bound that gradients are clipped to, over all parameters together.

    Guarantee: that of the discrete Gaussian (``accounting.rdp.sampled``, ``Release(mechanism="discrete gaussian")``) for the whole
    numbers, whatever the scale and division afterwards; never that of the Gaussian's privacy losses.

    Raises:
        SettingError: If sigma is too small, or so large that the grid is too coarse for so many parameters.
        PrivacyError: If the parameters are on several devices.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], *, noise_multiplier: float, sensitivity: float) -> None:
        if not (0.25 <= noise_multiplier < math.inf and 0 < sensitivity < math.inf):
            raise SettingError(
                f"got noise_multiplier = {noise_multiplier} and a bound of {sensitivity}; expected at least 0.25 and a positive finite "
                "bound for secure noise: below that there is little privacy to secure"
            )
        devices = {str(parameter.device) for parameter in parameters}
        if len(devices) > 1:
            raise PrivacyError(f"got trainable parameters on {', '.join(sorted(devices))}; expected all on one device")
        self._parameters = list(parameters)
        self.bound = math.isqrt(int(VARIANCE / Fraction(noise_multiplier) ** 2))
        total = sum(parameter.numel() for parameter in parameters)
        room = self.bound - math.sqrt(total) / 2
        if room < self.bound / 2:
            raise SettingError(
                f"got noise_multiplier = {noise_multiplier} for {total} parameters, where rounding to the grid would cost half the signal; "
                "expected less noise or fewer parameters, or secure=False"
            )
        self.unit = sensitivity / (room * SLACK)
        self._flat = torch.zeros(total, dtype=torch.int64, device=parameters[0].device)
        self._by = 1

    @property
    def flat(self) -> Tensor:
        """All sums in grid steps, int64."""
        return self._flat

    @property
    def by_parameter(self) -> dict[nn.Parameter, Tensor]:
        """Each in the shape of its parameter, in grid steps."""
        parts = self._flat.split([parameter.numel() for parameter in self._parameters])
        return {parameter: part.view_as(parameter) for parameter, part in zip(self._parameters, parts, strict=True)}

    def clear(self) -> None:
        """Back to zero."""
        self._flat.zero_()
        for parameter in self._parameters:
            parameter.grad = None

    def add(self, found: Mapping[nn.Parameter, PerExampleGrads], factors: Tensor) -> Tensor:
        """Add each example's gradient times its factor, rounded to the grid.

        Args:
            found: By parameter; those that the pass did not use may be missing.
            factors: (P, B) float64, in the order of the parameters, such that the products' norms over all of these are at most
                ``sensitivity``.

        Returns:
            Which examples were left out because they were longer than that, or not finite, (B,) bool.
        """
        weights = dict(zip(self._parameters, factors, strict=True))
        kept = torch.ones(len(factors[0]), dtype=torch.bool, device=self._flat.device)
        squares = torch.zeros(len(kept), dtype=torch.float64, device=self._flat.device)
        for parameter, gradients in found.items():
            for _, whole in self._rounded(gradients, weights[parameter], kept):
                squares += whole.square().sum(1)
        kept = squares <= float(self.bound) ** 2
        into = self.by_parameter
        for parameter, gradients in found.items():
            for columns, whole in self._rounded(gradients, weights[parameter], kept):
                into[parameter].view(-1)[columns] += whole.sum(0).to(torch.int64)
        return ~kept

    def release(self, stream: Stream | None, scale: float, by: int) -> None:  # noqa: ARG002
        """Add independent discrete Gaussian noise to every number, if there is a stream for it; its size is the grid's own, whatever
        ``scale``. What is handed over is divided."""
        self._by = by
        if stream is None:
            return
        for piece in self._flat.split(AT_ONCE):
            piece += torch.from_numpy(discrete_gaussian(len(piece), stream)).to(piece.device)

    def handed_over(self) -> dict[nn.Parameter, Tensor]:
        """The sums, divided, in the parameters' own units and formats."""
        step = self.unit / self._by
        return {parameter: (part.double() * step).to(parameter.dtype) for parameter, part in self.by_parameter.items()}

    def _rounded(self, gradients: PerExampleGrads, factors: Tensor, kept: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Pieces of the rows of whole numbers, float64, in which their squares and sums are exact; zero where not kept."""
        rows, steps = flatten_examples(gradients.to_dense()), (factors / self.unit)[:, None]
        width = max(1, AT_ONCE // max(1, len(rows)))
        for start in range(0, rows.shape[1], width):
            columns = slice(start, start + width)
            whole = (rows[:, columns].double() * steps).round_()
            yield columns, whole if bool(kept.all()) else whole.masked_fill_(~kept[:, None], 0)


def _accepted(proposals: int, stream: Stream) -> Integers:
    """Of so many proposals, those that were accepted."""
    words = stream.words(2 * proposals)
    shape, chance = words[:proposals], words[proposals:]
    place = (shape & np.uint64(STRETCH - 1)).astype(np.int64)
    stretch = 31 - np.frexp(((shape >> np.uint64(32)) & np.uint64((1 << 31) - 1)).astype(np.float64))[1].astype(np.int64)
    negative = (shape >> np.uint64(63)).astype(bool)
    x = place + stretch * STRETCH
    probability = np.exp(stretch * math.log(2) - (x * x).astype(np.float64) / (2.0 * VARIANCE))
    uniform = (chance >> np.uint64(11)).astype(np.float64) * 2.0**-53
    taken = uniform + 2.0**-53 <= probability * (1 - MARGIN)
    for i in np.flatnonzero(~taken & (uniform < probability * (1 + MARGIN))):
        taken[i] = _below(int(chance[i]), int(stretch[i]), int(x[i]), stream)
    taken &= (stretch < 31) & ~(negative & (x == 0))
    return np.where(negative, -x, x)[taken]


def _below(digits: int, stretch: int, x: int, stream: Stream) -> bool:
    """Whether a uniform number whose first 64 binary digits are given is below 2^stretch exp(-x^2 / 2 s^2); draws more as it needs them."""
    length = 64
    with localcontext() as context:
        while True:
            context.prec = length
            value = (Decimal(-x * x) / (2 * VARIANCE)).exp() * (1 << stretch) * (1 << length)
            error = value * Decimal(10) ** (8 - length)
            if Decimal(digits + 1) <= value - error:
                return True
            if Decimal(digits) >= value + error:
                return False
            digits, length = (digits << 64) | int(stream.words(1)[0]), length + 64
