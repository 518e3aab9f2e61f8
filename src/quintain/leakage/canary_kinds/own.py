"""The user's own canaries, from an .npz file."""

import io
import zipfile
from pathlib import Path

import numpy as np
import torch

from quintain.core.errors import DataError, NotFoundError, SettingError
from quintain.core.files import read_bytes
from quintain.data.dataset import Dataset, from_arrays
from quintain.data.equal_examples import example_hashes, first_positions
from quintain.leakage.canary_kinds.examples import CanaryExamples, MakeCanaries, rows_left_out

EXPECTED = "an .npz file of the arrays images (m, *shape) and labels (m,), one canary a row"


def own_canaries(path: Path) -> MakeCanaries:
    """Return what makes canaries of a file: its first m rows, as they are.

    Making them raises ``DataError`` where one stands among the records or among the canaries a second time,
    whatever the labels: a model that was not to be trained on it has seen it all the same, and a training
    without any privacy would look private.

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
        _require_unknown(canaries.subset(np.arange(count)), data, path)
        return CanaryExamples(x, y, rows_left_out(data, count, seed))

    return make


def _require_unknown(canaries: Dataset, data: Dataset, path: Path) -> None:
    """Refuse canaries that are known whatever their coins say: records of the data, and copies of others."""
    made = example_hashes(canaries)
    first = first_positions(made)
    if len(first) < len(made):
        row = next(row for row, key in enumerate(made) if first[key] != row)
        raise DataError(
            f"{path} has {len(first)} different canaries among its first {len(made)}: canary {row} is "
            f"canary {first[made[row]]} again, so that one is trained on whatever the other's coin says; "
            f"expected {len(made)} different ones"
        )
    known = {key: row for row, key in enumerate(example_hashes(data)) if key in first}
    if known:
        key, row = next(iter(known.items()))
        raise DataError(
            f"{len(known)} of {len(made)} canaries of {path} are records of {data.name}, too, the first as "
            f"canary {first[key]} and record {row}: they are trained on whatever their coins say. Take them "
            "out of one of the two; expected canaries that stand in the file alone"
        )
