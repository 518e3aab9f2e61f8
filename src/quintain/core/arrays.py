"""NumPy arrays as other libraries take them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def native_copy(array: NDArray[Any]) -> NDArray[Any]:
    """Return a copy in the machine's byte order and without negative strides, which PyTorch refuses."""
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
