"""The user's own canaries, from an .npz file."""

import io
import zipfile
from pathlib import Path

import numpy as np
import torch

from quintain.core.errors import DataError, NotFoundError, SettingError
from quintain.core.files import read_bytes
from quintain.data.dataset import Dataset, from_arrays
from quintain.leakage.canary_kinds.examples import CanaryExamples, MakeCanaries, rows_left_out

EXPECTED = "an .npz file of the arrays images (m, *shape) and labels (m,), one canary a row"


def own_canaries(path: Path) -> MakeCanaries:
    """Return what makes canaries of a file: its first m rows, as they are.

    Args:
        path: An ``.npz`` file of the arrays ``images``, as data sets have them, and ``labels``.

    Raises:
        NotFoundError: If there is no such file.
        DataError: If it holds no such arrays.
    """
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}; expected {EXPECTED}")
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
    except (ValueError, OSError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error}); expected {EXPECTED}") from error
    if not {"images", "labels"} <= arrays.keys():
        raise DataError(f"{path} has {', '.join(sorted(arrays)) or 'no array'}; expected {EXPECTED}")

    def make(data: Dataset, count: int, seed: int) -> CanaryExamples:
        canaries = from_arrays(
            arrays["images"], arrays["labels"], name=str(path), num_classes=data.num_classes
        )
        if canaries.shape != data.shape:
            raise DataError(
                f"{path} has canaries of shape {canaries.shape}; expected {data.shape}, as the data have"
            )
        if len(canaries) < count:
            raise SettingError(
                f"{path} has {len(canaries)} canaries; expected at least {count}: give --canaries "
                f"{len(canaries)}, or more of them"
            )
        x, y = canaries.batch(torch.arange(count))
        return CanaryExamples(x, y, rows_left_out(data, count, seed))

    return make
