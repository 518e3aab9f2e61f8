"""Real vectors as integers mod 2^32, with the proof that no sum of them wraps."""

import math
import secrets
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quintain.core.errors import DataError, ProtocolError, SettingError
from quintain.federated.secagg.primitives import KEY_BYTES, keystream
from quintain.federated.secagg.setting_types import check_integers, check_types
from quintain.federated.secagg.shamir import Entropy, random_bytes

WORD_DTYPE = np.dtype("<u4")
EncodedVector = NDArray[np.uint32]
HALF_MODULUS = 2**31
MAX_SCALE = 2**53
MAX_LENGTH = 2**28
"""Entries: a vector is one message, and what authenticates it takes less than 2 GiB."""
COARSE_BELOW = 2**8
"""Grid steps up to the clip below which entries are rounded at random."""
_POWERS = tuple(2**power for power in range(54))


@dataclass(frozen=True, slots=True)
class Encoding:
    r"""Fixed-point integers that add up exactly.

    .. math:: q = \mathrm{round}\big(s\, a\, \mathrm{clip}(x, -C, C)\big) \bmod 2^{32}, \qquad a = w / W

    Rounding and multiplication are monotone, so :math:`|q| \le Q = \mathrm{round}(sC)`; a sum of n of them is
    read back exactly since
    :math:`nQ < 2^{31}` is checked in integers.

    On a coarse grid, :math:`Q < 2^8`, rounding to the nearest step would lose what all sites change by less
    than half a step, round after round. There :math:`q = \lfloor s a\, \mathrm{clip}(x, -C, C) + u \rfloor`
    with fresh u uniform in [0, 1), whose expectation is the entry itself, up to 2^-32 of a step; entries
    beyond Q steps are cut to Q first. A site encodes once for each model, since several such roundings of one
    vector tell more of it than one.

    With a weight cap W the integer weight w travels as one more word, so that one sum tells the sum of the
    weights alone. That is a single site's weight to whoever knows the others', and to the server once it has
    the sum of the same weights without that site: where weights are secret, do not sum them twice.

    Args:
        length: Entries of the vector.
        clip_value: C, in the units of the vector: larger entries are cut to it.
        scale: s, an integer up to 2^53; one step of the grid is ``1 / scale``.
        num_sites: n, the size of the roster: more than this never add up.
        max_weight: W, the largest weight that a site may have; 0 for a plain sum.

    Raises:
        SettingError: If a setting is out of range, or if a sum could wrap.
    """

    length: int
    clip_value: float
    scale: int
    num_sites: int
    max_weight: int = 0

    def __post_init__(self) -> None:
        check_integers(
            length=self.length, scale=self.scale, num_sites=self.num_sites, max_weight=self.max_weight
        )
        check_types(Real, clip_value=self.clip_value)
        for name in (
            "length",
            "scale",
            "num_sites",
            "max_weight",
        ):  # a narrow type of NumPy's would round or wrap what is worked out below
            object.__setattr__(self, name, int(getattr(self, name)))
        object.__setattr__(self, "clip_value", _as_float(self.clip_value))
        if self.length < 1 or self.num_sites < 2 or self.max_weight < 0 or not 1 <= self.scale <= MAX_SCALE:
            raise SettingError(
                f"length = {self.length}, num_sites = {self.num_sites}, scale = {self.scale}, max_weight = "
                f"{self.max_weight}; expected length >= 1, num_sites >= 2, scale in [1, 2^53] and max_weight "
                ">= 0"
            )
        if self.length > MAX_LENGTH:
            raise SettingError(
                f"a vector of {self.length:,} entries; expected at most {MAX_LENGTH:,}: sum larger models in "
                "parts, or train an adapter of them"
            )
        if not (math.isfinite(self.clip_value) and self.clip_value > 0):
            raise SettingError(
                f"clip_value = {self.clip_value}; expected a positive number, such as the largest entry of "
                "an ordinary update"
            )
        if self.num_sites * self.max_weight >= HALF_MODULUS:
            raise SettingError(
                f"a weight cap of {self.max_weight} for {self.num_sites} sites; expected less than "
                f"{HALF_MODULUS // self.num_sites}, so that no sum of weights wraps: divide all weights by "
                "one number"
            )
        if self.max_abs < 1 or self.num_sites * self.max_abs >= HALF_MODULUS:
            raise SettingError(
                f"{self.num_sites} sites x {self.max_abs} per word; expected at least 1 per word and less "
                "than 2^31 in all, so that no sum wraps. Choose a scale of at most "
                f"{int(min(MAX_SCALE, HALF_MODULUS / self.num_sites / self.clip_value))}, or None for the "
                "finest"
            )

    @property
    def max_abs(self) -> int:
        """Q, the largest magnitude of an encoded entry; 2^31 stands for all that is too large."""
        return largest_word(self.scale, self.clip_value)

    @property
    def is_coarse(self) -> bool:
        """Whether entries are rounded at random, up or down, instead of to the nearest step."""
        return self.max_abs < COARSE_BELOW

    @property
    def num_words(self) -> int:
        """Words on the wire: the entries, then the weight where there is one."""
        return self.length + (self.max_weight > 0)

    def quantize(
        self, vector: ArrayLike, weight: int | None = None, *, entropy: Entropy = secrets.token_bytes
    ) -> EncodedVector:
        """Encode one vector.

        Args:
            vector: (length,) real numbers.
            weight: Integer weight in [0, cap]; given exactly when the encoding has a cap.
            entropy: Random bytes by number, for a coarse grid; the operating system's unless a test needs
                others.

        Raises:
            DataError: If an entry is not finite (its place is named) or the shape does not fit.
            SettingError: If the weight does not fit the cap.
        """
        exact = self._validate(vector)
        if (weight is None) != (self.max_weight == 0):
            raise SettingError(
                f"weight = {weight} under a cap of {self.max_weight}; give a weight exactly when there is a "
                "cap above 0"
            )
        # each step in place, in the one copy that is made of the vector
        exact = np.clip(exact, -self.clip_value, self.clip_value)
        if weight is None:
            exact *= self.scale
            return self._wrap(exact, entropy)
        check_integers(weight=weight)
        if not 0 <= weight <= self.max_weight:
            raise SettingError(
                f"weight = {weight}; expected an integer in [0, {self.max_weight}], the public cap"
            )
        exact *= weight / self.max_weight
        exact *= self.scale
        return np.append(self._wrap(exact, entropy), WORD_DTYPE.type(weight)).astype(WORD_DTYPE)

    def count_clipped(self, vector: ArrayLike) -> int:
        """Count the entries that ``clip_value`` cuts."""
        return int(np.count_nonzero(np.abs(self._validate(vector)) > self.clip_value))

    def to_signed(self, encoded: EncodedVector) -> NDArray[np.int64]:
        """Read a sum as signed integers: exact for up to ``num_sites`` vectors."""
        # Two's complement: a sum below 2^31 in magnitude is read back exactly.
        return encoded.astype(WORD_DTYPE, copy=False).view(np.dtype("<i4")).astype(np.int64)

    def decode(self, integers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Decode summed integers to the sum of x, or of w x where weights travel inside."""
        decoded: NDArray[np.float64] = integers[: self.length] / self.scale
        if self.max_weight:
            decoded *= self.max_weight
        return decoded

    def decode_weight(self, integers: NDArray[np.int64]) -> int:
        """Read the summed weight; 0 for a plain sum."""
        return int(integers[-1]) if self.max_weight else 0

    def largest_entry(self, relative_weight: float) -> int:
        """Return the largest magnitude of an encoded entry of a vector that was scaled by a public weight."""
        scaled = self.clip_value * relative_weight * self.scale
        return min(self.max_abs, math.ceil(scaled)) if self.is_coarse else int(np.rint(scaled))

    def largest_sum(self, summands: int, weight: int) -> int:
        r"""Return the largest magnitude that an entry of a sum of honest vectors can have.

        Of so many vectors, whose weights sum to ``weight``.

        An honest entry is at most :math:`\mathrm{round}(sC\, w_i / W)` in magnitude; the three
        floating-point operations that lead there add less than 2^-50 of it, and each rounding at most 1/2, or
        less than 1 on a coarse grid.
        """
        most = summands * self.max_abs
        if not self.max_weight:
            return most
        exact = (
            Fraction(float(self.clip_value)) * int(self.scale) * Fraction(int(weight), int(self.max_weight))
        )
        rounding = Fraction(summands, 1 if self.is_coarse else 2)
        return min(most, math.floor(exact * (1 + Fraction(1, 2**50)) + rounding))

    def check_sum(self, integers: NDArray[np.int64], summands: int) -> None:
        """Refuse a sum that no honest sites can have made.

        Args:
            integers: (words,) the sum.
            summands: How many vectors it is of.

        Raises:
            ProtocolError: Unless 0 <= summed weight <= summands x cap and each entry is within
                ``largest_sum``.

        Guarantee: what passes has a mean within the clip, :math:`|mean| \\le C + m W / (2 s \\sum w)` for m
        vectors, twice as much beyond it on a coarse grid. Not promised: that nobody lied. A site may still
        send any vector and weight that keep the sum within these bounds, and so may move the mean anywhere
        within the clip; and since each word hides in the sum, the site that made a sum impossible cannot be
        named.
        """
        weight = self.decode_weight(integers)
        if not 0 <= weight <= summands * self.max_weight:
            raise ProtocolError(
                f"the weights of {summands} sites sum to {weight}; expected 0 to {summands} x the cap of "
                f"{self.max_weight}: a site lied about its weight, discard this sum"
            )
        entries, bound = integers[: self.length], self.largest_sum(summands, weight)
        if max(int(entries.max()), -int(entries.min())) > bound:
            worst = int(np.abs(entries).argmax())
            raise ProtocolError(
                f"entry {worst} of the sum of {summands} vectors is {integers[worst]} grid steps; expected "
                f"at most {bound} in magnitude, as a clip of {self.clip_value:g} allows: a site lied about "
                "its vector, discard this sum"
            )

    def _wrap(self, scaled: NDArray[np.float64], entropy: Entropy) -> EncodedVector:
        """Round to the grid, at random where it is coarse, and wrap; ``scaled`` is used up."""
        if not self.is_coarse:
            # no entry is beyond 31 bits, so that two's complement is the word
            return np.rint(scaled, out=scaled).astype(np.dtype("<i4")).view(WORD_DTYPE)
        # Q is an integer, so that neither Q + u nor -Q + u is rounded beyond it
        cut = np.clip(scaled, -self.max_abs, self.max_abs)
        stream = keystream(random_bytes(entropy, KEY_BYTES)).update(bytes(4 * cut.size))
        uniform = np.frombuffer(stream, WORD_DTYPE) / 2.0**32
        return np.floor(cut + uniform).astype(np.int64).astype(WORD_DTYPE)

    def _validate(self, vector: ArrayLike) -> NDArray[np.float64]:
        try:
            given = np.asarray(vector)
        except ValueError as error:
            raise DataError(
                f"the vector is no array: {error}; expected ({self.length},) real numbers"
            ) from error
        if given.shape != (self.length,) or given.dtype.kind not in "fiu":
            raise DataError(
                f"got an array {given.shape} of {given.dtype}; expected ({self.length},) real numbers: "
                "flatten the update first"
            )
        exact = given.astype(np.float64, copy=False)
        if not np.isfinite(exact).all():
            strange = np.flatnonzero(~np.isfinite(exact))
            raise DataError(
                f"entry {strange[0]} is {exact[strange[0]]} ({strange.size} of {self.length} entries are not "
                "finite); expected finite numbers: lower the learning rate of the local training"
            )
        return exact


def finest_encoding(length: int, clip_value: float, num_sites: int, max_weight: int = 0) -> Encoding:
    """Return the encoding with the largest scale, a power of two, whose sums cannot wrap."""
    check_integers(length=length, num_sites=num_sites, max_weight=max_weight)
    check_types(Real, clip_value=clip_value)
    num_sites, clip_value = int(num_sites), _as_float(clip_value)
    if not (math.isfinite(clip_value) and clip_value > 0 and 2 <= num_sites < HALF_MODULUS):
        return Encoding(length, clip_value, 1, num_sites, max_weight)
    fitting = [scale for scale in _POWERS if num_sites * largest_word(scale, clip_value) < HALF_MODULUS]
    if not fitting or largest_word(fitting[-1], clip_value) < 1:
        raise SettingError(
            f"clip_value = {clip_value:g}; expected about {0.5 / MAX_SCALE:.0e} to "
            f"{HALF_MODULUS / num_sites:.0e} for {num_sites} sites, so that no sum wraps and the largest "
            "entry is at least one step of the finest grid: choose the largest entry of an ordinary update"
        )
    return Encoding(length, clip_value, fitting[-1], num_sites, max_weight)


def largest_word(scale: int, clip_value: float) -> int:
    """Q, the largest magnitude of an encoded entry; 2^31 stands for all that is too large."""
    return round(min(scale * clip_value, HALF_MODULUS))


def _as_float(number: float) -> float:
    """A number of any type as Python's own; infinite where it is too large."""
    try:
        return float(number)
    except OverflowError:
        return math.inf
