"""Real vectors as integers mod 2^32, with the proof that no sum of them wraps."""

import math
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quintain.core.errors import DataError, ProtocolError, SettingError

WORD = np.dtype("<u4")
Words = NDArray[np.uint32]
HALF = 2**31
FINEST = 2**53
_POWERS = tuple(2**power for power in range(54))
_NUMBERS: dict[type, str] = {Integral: "an integer", Real: "a number"}


@dataclass(frozen=True, slots=True)
class Encoding:
    r"""Fixed-point integers that add up exactly.

    .. math:: q = \mathrm{round}\big(s\, a\, \mathrm{clip}(x, -C, C)\big) \bmod 2^{32}, \qquad a = w / W

    Rounding and multiplication are monotone, so :math:`|q| \le Q = \mathrm{round}(sC)`; a sum of n of them is read back exactly since
    :math:`nQ < 2^{31}` is checked in integers. With a weight cap W the integer weight w travels as one more word, so that one
    sum tells the sum of the weights alone. That is a single site's weight to whoever knows the others', and to the server once it has
    the sum of the same weights without that site: where weights are secret, do not sum them twice.

    Args:
        length: Entries of the vector.
        clip: C, in the units of the vector: larger entries are cut to it.
        scale: s, an integer up to 2^53; one step of the grid is ``1 / scale``.
        parties: n, the size of the roster: more than this never add up.
        cap: W, the largest weight that a site may have; 0 for a plain sum.

    Raises:
        SettingError: If a setting is out of range, or if a sum could wrap.
    """

    length: int
    clip: float
    scale: int
    parties: int
    cap: int = 0

    def __post_init__(self) -> None:
        check_integers(length=self.length, scale=self.scale, parties=self.parties, cap=self.cap)
        check_types(Real, clip=self.clip)
        for name in ("length", "scale", "parties", "cap"):  # a narrow type of NumPy's would round or wrap what is worked out below
            object.__setattr__(self, name, int(getattr(self, name)))
        object.__setattr__(self, "clip", _as_float(self.clip))
        if self.length < 1 or self.parties < 2 or self.cap < 0 or not 1 <= self.scale <= FINEST:
            raise SettingError(
                f"length = {self.length}, parties = {self.parties}, scale = {self.scale}, cap = {self.cap}; "
                "expected length >= 1, parties >= 2, scale in [1, 2^53] and cap >= 0"
            )
        if not (math.isfinite(self.clip) and self.clip > 0):
            raise SettingError(f"clip = {self.clip}; expected a positive number, such as the largest entry of an ordinary update")
        if self.parties * self.cap >= HALF:
            raise SettingError(
                f"a weight cap of {self.cap} for {self.parties} sites; expected less than {HALF // self.parties}, so that no sum of "
                "weights wraps: divide all weights by one number"
            )
        if self.largest < 1 or self.parties * self.largest >= HALF:
            raise SettingError(
                f"{self.parties} sites x {self.largest} per word; expected at least 1 per word and less than 2^31 in all, so that no sum "
                f"wraps. Choose a scale of at most {int(min(FINEST, HALF / self.parties / self.clip))}, or None for the finest"
            )

    @property
    def largest(self) -> int:
        """Q, the largest magnitude of an encoded entry; 2^31 stands for all that is too large."""
        return largest_word(self.scale, self.clip)

    @property
    def words(self) -> int:
        """Words on the wire: the entries, then the weight where there is one."""
        return self.length + (self.cap > 0)

    def quantise(self, vector: ArrayLike, weight: int | None = None) -> Words:
        """The words of one vector.

        Args:
            vector: (length,) real numbers.
            weight: Integer weight in [0, cap]; given exactly when the encoding has a cap.

        Raises:
            DataError: If an entry is not finite (its place is named) or the shape does not fit.
            SettingError: If the weight does not fit the cap.
        """
        exact = self._checked(vector)
        if (weight is None) != (self.cap == 0):
            raise SettingError(f"weight = {weight} under a cap of {self.cap}; give a weight exactly when there is a cap above 0")
        clipped = np.clip(exact, -self.clip, self.clip)
        if weight is None:
            return _wrap(clipped * self.scale)
        check_integers(weight=weight)
        if not 0 <= weight <= self.cap:
            raise SettingError(f"weight = {weight}; expected an integer in [0, {self.cap}], the public cap")
        return np.append(_wrap(clipped * (weight / self.cap) * self.scale), WORD.type(weight)).astype(WORD)

    def clipped(self, vector: ArrayLike) -> int:
        """How many entries ``clip`` would cut."""
        return int(np.count_nonzero(np.abs(self._checked(vector)) > self.clip))

    def integers(self, words: Words) -> NDArray[np.int64]:
        """A sum of words as signed integers: exact for up to ``parties`` vectors."""
        return words.astype(WORD).view(np.dtype("<i4")).astype(np.int64)

    def real(self, integers: NDArray[np.int64]) -> NDArray[np.float64]:
        """What the summed integers stand for: the sum of x, or of w x where weights travel inside."""
        return integers[: self.length] / self.scale * (self.cap or 1)

    def weight(self, integers: NDArray[np.int64]) -> int:
        """The summed weight; 0 for a plain sum."""
        return int(integers[-1]) if self.cap else 0

    def largest_sum(self, summands: int, weight: int) -> int:
        """The largest magnitude that an entry of a sum can have: of so many honest vectors, whose weights sum to ``weight``.

        An honest entry is at most :math:`\\mathrm{round}(sC\\, w_i / W)` in magnitude; the three floating-point operations that lead
        there add less than 2^-50 of it, and each rounding at most 1/2.
        """
        most = summands * self.largest
        if not self.cap:
            return most
        exact = Fraction(float(self.clip)) * int(self.scale) * Fraction(int(weight), int(self.cap))
        return min(most, math.floor(exact * (1 + Fraction(1, 2**50)) + Fraction(summands, 2)))

    def check_sum(self, integers: NDArray[np.int64], summands: int) -> None:
        """Refuse a sum that no honest sites can have made.

        Args:
            integers: (words,) the sum.
            summands: How many vectors it is of.

        Raises:
            ProtocolError: Unless 0 <= summed weight <= summands x cap and each entry is within ``largest_sum``.

        Guarantee: what passes has a mean within the clip, :math:`|mean| \\le C + m W / (2 s \\sum w)` for m vectors. Not promised: that
        nobody lied. A site may still send any vector and weight that keep the sum within these bounds, and so may move the mean anywhere
        within the clip; and since each word hides in the sum, the site that made a sum impossible cannot be named.
        """
        weight = self.weight(integers)
        if not 0 <= weight <= summands * self.cap:
            raise ProtocolError(
                f"the weights of {summands} sites sum to {weight}; expected 0 to {summands} x the cap of {self.cap}: "
                "a site lied about its weight, discard this sum"
            )
        entries = np.abs(integers[: self.length])
        worst, bound = int(entries.argmax()), self.largest_sum(summands, weight)
        if entries[worst] > bound:
            raise ProtocolError(
                f"entry {worst} of the sum of {summands} vectors is {integers[worst]} grid steps; expected at most {bound} in magnitude, "
                f"as a clip of {self.clip:g} allows: a site lied about its vector, discard this sum"
            )

    def _checked(self, vector: ArrayLike) -> NDArray[np.float64]:
        try:
            given = np.asarray(vector)
        except ValueError as error:
            raise DataError(f"the vector is no array: {error}; expected ({self.length},) real numbers") from error
        if given.shape != (self.length,) or given.dtype.kind not in "fiu":
            raise DataError(
                f"got an array {given.shape} of {given.dtype}; expected ({self.length},) real numbers: flatten the update first"
            )
        exact = given.astype(np.float64)
        strange = np.flatnonzero(~np.isfinite(exact))
        if strange.size:
            raise DataError(
                f"entry {strange[0]} is {exact[strange[0]]} ({strange.size} of {self.length} entries are not finite); "
                "expected finite numbers: lower the learning rate of the local training"
            )
        return exact


def check_integers(**settings: object) -> None:
    """Refuse settings that are no integers, naming the first.

    Raises:
        SettingError: For anything but an integer, of Python's or NumPy's.
    """
    check_types(Integral, **settings)


def check_types(kind: type, **settings: object) -> None:
    """Refuse settings of another type, naming the first.

    Raises:
        SettingError: For anything but ``kind``, to which NumPy's numbers may belong; True and False are no numbers, and text is what
            UTF-8 can write.
    """
    for name, value in settings.items():
        if not isinstance(value, kind) or isinstance(value, bool):
            expected = _NUMBERS.get(kind, f"a value of type {kind.__name__}")
            raise SettingError(f"{name} = {value!r}; expected {expected}, not one of type {type(value).__name__}")
        if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise SettingError(
                f"{name} = {value!r}; expected text that UTF-8 can write, without half of a surrogate pair (as a file's name that is no "
                "UTF-8 is read by Python): rename it"
            )


def finest(length: int, clip: float, parties: int, cap: int = 0) -> Encoding:
    """The encoding with the largest scale, a power of two, whose sums cannot wrap."""
    check_integers(length=length, parties=parties, cap=cap)
    check_types(Real, clip=clip)
    parties, clip = int(parties), _as_float(clip)
    if not (math.isfinite(clip) and clip > 0 and 2 <= parties < HALF):
        return Encoding(length, clip, 1, parties, cap)
    fitting = [scale for scale in _POWERS if parties * largest_word(scale, clip) < HALF]
    if not fitting or largest_word(fitting[-1], clip) < 1:
        raise SettingError(
            f"clip = {clip:g}; expected about {0.5 / FINEST:.0e} to {HALF / parties:.0e} for {parties} sites, so that no sum wraps and the "
            "largest entry is at least one step of the finest grid: choose the largest entry of an ordinary update"
        )
    return Encoding(length, clip, fitting[-1], parties, cap)


def largest_word(scale: int, clip: float) -> int:
    """Q, the largest magnitude of an encoded entry; 2^31 stands for all that is too large."""
    return round(min(scale * clip, HALF))


def _as_float(number: float) -> float:
    """A number of any type as Python's own; infinite where it is too large."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _wrap(scaled: NDArray[np.float64]) -> Words:
    return np.rint(scaled).astype(np.int64).astype(WORD)
