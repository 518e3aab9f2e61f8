"""Load a data set by name, or from an archive, MNIST's files or a folder of images."""

from pathlib import Path

from quintain.core.errors import ExecutionError, NotFoundError, SettingError, UnknownNameError
from quintain.core.registry import entries, get_entry
from quintain.data.splits import Splits

ACCEPTED = "an .npz file, a folder with MNIST's IDX files, or a folder of images by class"


def load_data(spec: str | Path) -> Splits:
    """Load the splits of a data set, each read batch by batch and with a content hash.

    Args:
        spec: A registered name (``"xrays"``); else the path of an ``.npz`` file (``load_npz``), of a folder
            with MNIST's IDX files (``load_idx``), or of a folder of images by class (``load_folder``). A
            registered name wins over a file of that name.

    Raises:
        UnknownNameError: If it is neither a registered name nor a path.
        NotFoundError: If there is no such file.
        SettingError: If it is a file of a kind that is not read.
        DataError: If its content does not fit.
    """
    if str(spec) in entries("dataset"):
        splits = get_entry("dataset", str(spec)).load()()
        if not isinstance(splits, Splits):
            raise ExecutionError(
                f"the data set {spec!r} is registered with something that returns {type(splits).__name__}; "
                "expected Splits"
            )
        return splits
    path = Path(spec).expanduser()
    if path.is_dir():
        from quintain.data.folder import load_folder
        from quintain.data.idx import find_idx, load_idx

        return load_idx(path) if find_idx(path) else load_folder(path)
    if path.suffix == ".npz" and path.is_file():
        from quintain.data.npz import load_npz

        return load_npz(path)
    if path.exists():
        raise SettingError(f"{path} is not a data set that is known here; expected {ACCEPTED}")
    if isinstance(spec, Path) or path.suffix or len(path.parts) > 1:
        raise NotFoundError(
            f"there is no {path}; expected {ACCEPTED}, or one of the names "
            f"{', '.join(sorted(entries('dataset')))}"
        )
    raise UnknownNameError("data set", spec, entries("dataset"))
