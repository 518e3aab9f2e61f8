"""What float64, in which audits compute, does not hold of the numbers that they are given."""

import numpy as np

EXACT = 1 << 53
"""Up to here, and down to its negative, float64 holds all integers."""

BEYOND = "integers beyond 2^53"


def lost_in_float64(values: object) -> str:
    """Return what float64 does not hold of some numbers, such as ``integers beyond 2^53``; empty if nothing.

    What is lost may be all that tells: the last digit of a large integer, or an imaginary part.

    Args:
        values: A number, an array or nested lists of them; of lists each entry is looked at as it is, since
            NumPy makes floats of integers beside floats.
    """
    given = np.asarray(values, dtype=object if isinstance(values, list | tuple) else None)
    if given.dtype == object:
        entries = [one.item() if isinstance(one, np.generic) else one for one in given.ravel()]
        if any(isinstance(one, complex) for one in entries):
            return "complex numbers"
        is_beyond = any(isinstance(one, int) and abs(one) > EXACT for one in entries)
        return BEYOND if is_beyond else ""
    if given.dtype.kind == "c":
        return "complex numbers"
    if given.dtype.kind in "iu" and bool(((given > EXACT) | (given < -EXACT)).any()):
        return BEYOND
    if given.dtype.kind == "f" and given.dtype.itemsize > 8:
        return "numbers of more digits than float64" if bool((given != given.astype(float)).any()) else ""
    return ""
