r"""Client-level differential privacy of sums: each site adds a share of the noise before it is masked.

The server reads a sum that is noisy already, so that what it can learn of any one site is bounded also where
the sum itself would tell. No site and no server knows all of the noise.
Where a server is trusted, it may add the noise itself (``CentralNoise``).

Source: Kairouz, Liu, Steinke, 2021, arXiv:2102.06387.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quintain.core.errors import DataError, SettingError
from quintain.dp.accounting.distributed_gaussian import distributed_gaussian_rdp
from quintain.dp.accounting.guarantee import Guarantee
from quintain.dp.accounting.rdp import epsilon_from_rdp
from quintain.dp.randomness.discrete_gaussian import VARIANCE, discrete_gaussian
from quintain.dp.randomness.stream import RandomStream
from quintain.federated.secagg.encoding import HALF_MODULUS, WORD_DTYPE, EncodedVector, Encoding
from quintain.federated.secagg.setting_types import check_types

MAX_SCALE_BITS = 30
TAIL = 12
"""Standard deviations of noise for which the words have room: beyond it lies less than 1e-30 of a sum."""
MIN_SHARE_STD = 10
"""Of one share, in grid steps: the sum of shares is then as good as one discrete Gaussian."""
MAX_REDRAWS = 64
ROOM_FOR_ROUNDING = 1 - 2.0**-30
"""Clipped norms stay below their bound by more than the rounding of a norm and of a product in float64."""


@dataclass(frozen=True, slots=True)
class DistributedNoise:
    r"""Clip a site's vector, round it to integers and add its share of discrete Gaussian noise.

    .. math:: k_i = \mathrm{round}\big(s \min(1, c / \|x_i\|) x_i\big), \quad \|k_i\|_2 \le \Delta, \qquad
        y_i = k_i + \mathcal{N}_{\mathbb{Z}}(0, v), \quad v = \frac{(z \Delta)^2}{n - D - \max(K, 1)}

    Rounding is stochastic, so that it is unbiased, and drawn again until the integer vector's exact norm is
    within :math:`\Delta`. The grid's step 1/s is the finest at which no noisy sum wraps.

    Args:
        length: d, entries of the vector.
        clip_norm: c, in units of the vector.
        noise_multiplier: z: standard deviation of the noise of all honest survivors over :math:`\Delta`.
        num_sites: n, the size of the roster.
        max_dropped: D, sites that may drop out of a round; with more, no sum may be opened.
        max_corrupt: K, sites that may side with the server: their shares count for nothing. A site that sides
            with nobody knows its own share all the same, so that one share never counts.

    Attributes:
        scale: s, a power of two.
        sensitivity: Delta, an integer, in grid steps.
        variance: v, an integer, in squared grid steps.

    Raises:
        SettingError: If a setting is out of range, if no site is left that is honest and there, or if no grid
            is fine enough for so much noise on so many sites.

    Guarantee: ``guarantee`` tells it for what a round gave out; each site's policy must not open sums of
    fewer than ``min_survivors``. Assumes that honest sites draw from secret entropy.
    Source: Kairouz, Liu, Steinke, 2021, arXiv:2102.06387; sampling: Canonne, Kamath, Steinke, 2020,
    arXiv:2004.00010.
    """

    noise_name: ClassVar[str] = "distributed discrete gaussian"

    length: int
    clip_norm: float
    noise_multiplier: float
    num_sites: int
    max_dropped: int = 0
    max_corrupt: int = 1
    scale: int = field(init=False)

    def __post_init__(self) -> None:
        check_types(
            Integral,
            length=self.length,
            num_sites=self.num_sites,
            max_dropped=self.max_dropped,
            max_corrupt=self.max_corrupt,
        )
        check_types(Real, clip_norm=self.clip_norm, noise_multiplier=self.noise_multiplier)
        if not (0 < self.clip_norm < math.inf and 0 < self.noise_multiplier < math.inf and self.length >= 1):
            raise SettingError(
                f"clip_norm = {self.clip_norm}, noise_multiplier = {self.noise_multiplier}, length = "
                f"{self.length}; expected positive finite numbers"
            )
        if min(self.max_dropped, self.max_corrupt) < 0 or self.num_honest < 1:
            raise SettingError(
                f"{self.num_sites} sites, of which {self.max_dropped} may drop out and {self.max_corrupt} "
                "may side with the server, and one always knows its own share; expected at least one other, "
                "whose noise counts: allow fewer dropouts or add sites"
            )
        object.__setattr__(self, "scale", self._finest_scale())

    @property
    def num_honest(self) -> int:
        """Sites whose noise is counted on: n - D - max(K, 1)."""
        return self._shares_that_count(self.min_survivors)

    @property
    def num_known(self) -> int:
        """Shares of noise that one who looks at a sum may know: max(K, 1), as a site knows its own."""
        return max(self.max_corrupt, 1)

    @property
    def min_survivors(self) -> int:
        """n - D: a sum over fewer sites has less noise than is promised, and must not be opened."""
        return self.num_sites - self.max_dropped

    @property
    def num_shares(self) -> int:
        """Shares of noise in a sum if nobody drops out: n."""
        return self.num_sites

    @property
    def sensitivity(self) -> int:
        """Delta: no integer vector of a site is longer, in grid steps."""
        return self._sensitivity(self.scale)

    @property
    def variance(self) -> int:
        """v: the parameter of one site's share, in squared grid steps."""
        return self._variance(self.scale)

    @property
    def encoding(self) -> Encoding:
        """Words for noisy vectors, with room for the noise of all sites: no sum of them wraps."""
        return Encoding(self.length, self._largest_entry(self.scale) / self.scale, self.scale, self.num_sites)

    def relative_noise(self, total_weight: float) -> float:
        """Expected length of the noise on an average over the clip norm: above 1 the noise outweighs it.

        Args:
            total_weight: Sum of the relative weights of all sites, which the sum is divided by.
        """
        noise = math.sqrt(self.length * self.variance * self.num_shares) / total_weight / self.scale
        return noise / self.clip_norm

    def encode(self, vector: ArrayLike, stream: RandomStream | None = None) -> EncodedVector:
        """Clip, round and add this site's share of noise.

        Args:
            vector: (length,) real numbers.
            stream: Random bits for rounding and noise; None for the operating system's entropy. Nobody else
                may know them. Encode once for each model: a second noisy copy of one vector halves its noise.

        Returns:
            (length,) words, to be masked.

        Raises:
            DataError: If an entry is not finite or the shape does not fit.
        """
        stream = RandomStream.from_os_entropy() if stream is None else stream
        noisy = self._clip_and_round(vector, stream) + discrete_gaussian(self.length, stream, self.variance)
        return noisy.astype(WORD_DTYPE)

    def encode_update(
        self, update: NDArray[np.float64], encoding: Encoding, relative_weight: float
    ) -> EncodedVector:
        """Clip a site's update, weight it and encode it, as ``Aggregation.encode`` is called.

        Raises:
            SettingError: If the encoding of the round has no room for this noise.
        """
        if encoding != self.encoding:
            raise SettingError(f"the encoding {encoding}; expected that of the noise, {self.encoding}")
        norm = float(np.linalg.norm(update))
        factor = min(1.0, self.clip_norm / norm) if math.isfinite(norm) and norm else 1.0
        return self.encode(update * (factor * relative_weight))

    def _clip_and_round(self, vector: ArrayLike, stream: RandomStream) -> NDArray[np.int64]:
        """Check a vector (length,) and return its integers, whose exact norm is at most ``sensitivity``."""
        x = np.asarray(vector, np.float64)
        if x.shape != (self.length,) or not np.isfinite(x).all():
            raise DataError(
                f"got an array {x.shape}, {np.count_nonzero(~np.isfinite(x))} entries not finite; expected "
                f"({self.length},) finite numbers"
            )
        return self._round_at_random(x, stream)

    def guarantee(self, survivors: Sequence[int], delta: float) -> Guarantee:
        """Return the guarantee for one site against server and models, and against other sites.

        It holds against the server with the K sites that side with it, and against any one of the others,
        which takes its own share off a sum.

        Args:
            survivors: For each sum that may have been opened, how many sites are in it; those of abandoned
                rounds included where sites have answered.
            delta: In (0, 1).

        Raises:
            SettingError: If delta is out of range, or a sum holds fewer than ``min_survivors`` sites.
        """
        if not 0 < delta < 1:
            raise SettingError(f"delta = {delta}; expected a number between 0 and 1, such as 1e-5")
        if min(survivors, default=self.num_sites) < self.min_survivors:
            raise SettingError(
                f"a sum of {min(survivors)} sites; expected at least {self.min_survivors}, for which the "
                "noise was planned: set the policy's min_survivors"
            )
        divergences = sum(
            distributed_gaussian_rdp(
                self._shares_that_count(count), self.variance, self.sensitivity, self.length
            )
            for count in survivors
        )
        return Guarantee(
            epsilon=epsilon_from_rdp(np.asarray(divergences), delta) if survivors else 0.0,
            delta=delta,
            epsilon_lower=None,
            accountant="RDP of sums of discrete Gaussians",
            adjacency="zero-out",
            unit="client",
            sampling="full batch",
            noise=self.noise_name,
            reproducible=False,
            steps=len(survivors),
            num_units=self.num_sites,
        )

    def _shares_that_count(self, survivors: int) -> int:
        """Shares that nobody else knows in a sum over so many sites."""
        return survivors - self.num_known

    def _finest_scale(self) -> int:
        """Return the largest power of two at which no noisy sum wraps and the sampler covers the variance."""
        for bits in range(MAX_SCALE_BITS, -1, -1):
            scale = 1 << bits
            fits = (
                self._variance(scale) <= VARIANCE
                and self.num_sites * self._largest_entry(scale) < HALF_MODULUS
            )
            if fits and self._variance(scale) >= MIN_SHARE_STD**2:
                return scale
        raise SettingError(
            f"noise_multiplier = {self.noise_multiplier:g} and clip_norm = {self.clip_norm:g} for "
            f"{self.num_sites} sites and {self.length} entries fit no grid of steps 1 to "
            f"2^-{MAX_SCALE_BITS}; expected sums of vectors and noise below 2^31 steps: choose the clip norm "
            "near 1, by scaling the vectors, or less noise"
        )

    def _sensitivity(self, scale: int) -> int:
        """Return the bound on the norm after rounding; a rounding keeps it with probability 0.39 or more."""
        # conditional rounding with beta = e^(-1/2), so that sqrt(2 log(1 / beta)) = 1
        norm, root = self.clip_norm * scale, math.sqrt(self.length)
        return math.ceil(math.sqrt(min((norm + root) ** 2, norm**2 + self.length / 4 + norm + root / 2)))

    def _variance(self, scale: int) -> int:
        return math.ceil((self.noise_multiplier * self._sensitivity(scale)) ** 2 / self.num_honest)

    def _largest_entry(self, scale: int) -> int:
        """Return a word's largest magnitude if ``TAIL`` deviations of the summed noise are spread evenly."""
        tail = TAIL * math.sqrt(self.num_shares * self._variance(scale))
        return self._sensitivity(scale) + math.ceil(tail / self.num_sites)

    def _round_at_random(self, x: NDArray[np.float64], stream: RandomStream) -> NDArray[np.int64]:
        """Return the clipped vector in grid steps, rounded at random to a norm of at most ``sensitivity``."""
        # the largest entry is taken out first, so that no square overflows or vanishes
        largest = float(np.abs(x).max())
        if largest == 0:
            return np.zeros(self.length, np.int64)
        norm = largest * float(np.linalg.norm(x / largest))
        scaled = x * (min(1.0, self.clip_norm / norm) * ROOM_FOR_ROUNDING * self.scale)
        floor = np.floor(scaled)
        for _ in range(MAX_REDRAWS):
            uniform = (stream.words(self.length) >> np.uint64(11)).astype(np.float64) * 2.0**-53
            candidate = (floor + (uniform < scaled - floor)).astype(np.int64)
            if squared_norm(candidate) <= self.sensitivity**2:
                return candidate
        # towards zero no entry grows, so that the norm stays below c s
        return np.trunc(scaled).astype(np.int64)


@dataclass(frozen=True, slots=True)
class CentralNoise(DistributedNoise):
    r"""Clip and round at each site as ``DistributedNoise`` does, and let the server add all noise to the sum.

    .. math:: \sum_{i \in U} k_i + \mathcal{N}_{\mathbb{Z}}\big(0, (z \Delta)^2\big)

    Args:
        length, clip_norm, noise_multiplier, num_sites, max_dropped, max_corrupt: As ``DistributedNoise``
            takes them; who drops out or is corrupt does not matter to this noise.

    Guarantee: that of ``guarantee`` for those who see the noisy sums alone, and none against the server: it
    sees the sums without noise, and is trusted to add it.
    """

    noise_name: ClassVar[str] = "discrete gaussian"

    @property
    def num_honest(self) -> int:
        """1: the server's noise is the only share."""
        return 1

    @property
    def num_shares(self) -> int:
        """1: the server's."""
        return 1

    @property
    def min_survivors(self) -> int:
        """1: the noise is the same whoever drops out."""
        return 1

    def encode(self, vector: ArrayLike, stream: RandomStream | None = None) -> EncodedVector:
        """Clip and round a vector (length,), without noise."""
        stream = RandomStream.from_os_entropy() if stream is None else stream
        return self._clip_and_round(vector, stream).astype(WORD_DTYPE)

    def add_noise(self, integers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a sum (length,) with fresh noise from the operating system's entropy."""
        return integers + discrete_gaussian(self.length, RandomStream.from_os_entropy(), self.variance)

    def _shares_that_count(self, survivors: int) -> int:  # noqa: ARG002
        return 1


def squared_norm(integers: NDArray[np.int64]) -> int:
    """Return the exact sum of squares of integers below 2^32 in magnitude."""
    # halves of 16 bits: each sum of products stays far below 2^63
    high, low = np.divmod(np.abs(integers), 1 << 16)
    return (int(high @ high) << 32) + (int(high @ low) << 17) + int(low @ low)
