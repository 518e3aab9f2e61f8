"""What float64, in which audits compute, does not hold of the numbers that they are given."""

import numpy as np
from torch import Tensor

EXACT = 1 << 53
"""Up to here, and down to its negative, float64 holds all integers."""

COMPLEX, BEYOND = "complex numbers", "integers beyond 2^53"

HELD = frozenset({bool, float, type(None), np.bool_, np.float16, np.float32, np.float64})
"""Types of numbers that float64 always holds, and of none, which becomes NaN."""


def lost_in_float64(values: object) -> str:
    """Return what float64 does not hold of some numbers, such as ``integers beyond 2^53``; empty if nothing.

    What is lost may be all that tells: the last digit of a large integer, or an imaginary part.

    Args:
        values: A number, an array or a tensor, or nested lists of them; of lists each entry is looked at as
            it is, since NumPy makes floats of integers beside floats.
    """
    if isinstance(values, Tensor):
        values = (values.double() if values.is_floating_point() else values).detach().cpu().numpy()
    given = np.asarray(values, dtype=object if isinstance(values, list | tuple) else None)
    if given.dtype == object:
        entries = given.ravel().tolist()
        other = (one for one in entries if type(one) not in HELD)
        return next((lost for one in other if (lost := _lost_of_entry(one))), "")
    if given.dtype.kind == "c":
        return COMPLEX
    if given.dtype.kind in "iu":
        large = given[(given > EXACT) | (given < -EXACT)].tolist()
        return "" if all(map(_is_held, large)) else BEYOND
    if given.dtype.kind == "f" and given.dtype.itemsize > 8:
        return "numbers of more digits than float64" if bool((given != given.astype(float)).any()) else ""
    return "" if given.dtype.kind in "bf" else f"values of type {given.dtype}"


def _lost_of_entry(entry: object) -> str:
    """Return what is lost of an entry of a list, which may be a list, an array or a tensor."""
    if isinstance(entry, complex):
        return COMPLEX
    if isinstance(entry, int | np.integer):
        return "" if _is_held(int(entry)) else BEYOND
    if isinstance(entry, list | tuple | np.ndarray | np.generic | Tensor):
        return lost_in_float64(entry)
    return f"a {type(entry).__name__}"


def _is_held(number: int) -> bool:
    """Return whether float64 holds an integer, with which Python compares a float exactly."""
    try:
        return float(number) == number
    except OverflowError:
        return False
