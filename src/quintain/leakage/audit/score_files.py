"""Read the canaries of a training that was done elsewhere: their scores, and whether each was included."""

import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import DataError, NotFoundError
from quintain.core.files import read_bytes
from quintain.leakage.audit.canary_checks import check_canaries


def read_scores(path: str | Path) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Read an ``.npz`` file of the arrays ``scores`` (m,) and ``included`` (m,), bool or 0 and 1.

    Raises:
        NotFoundError: If there is no such file.
        DataError: If it is no such file, or for what ``check_canaries`` refuses.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise NotFoundError(
            f"there is no file {path}; expected an .npz file of the arrays scores and included"
        )
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
    except (ValueError, OSError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} cannot be read ({error}); expected numpy.savez(path, scores=..., included=...)"
        ) from error
    missing = [name for name in ("scores", "included") if name not in arrays]
    if missing:
        raise DataError(
            f"{path} has no array {' and no '.join(missing)}, it has {', '.join(sorted(arrays)) or 'none'}; "
            "expected scores (m,), larger for canaries more likely included, and included (m,), bool"
        )
    scores, included = arrays["scores"], arrays["included"]
    if included.dtype.kind in "iu" and np.isin(included, (0, 1)).all():
        included = included.astype(np.bool_)
    if scores.dtype.kind not in "fiu":
        raise DataError(f"{path} has scores of type {scores.dtype}; expected numbers")
    try:
        return check_canaries(scores, included)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
