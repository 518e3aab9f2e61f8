"""Read the requirements that a project states in its ``pyproject.toml``."""

import tomllib
from pathlib import Path

from quintain.core.errors import DataError


def project_requirements(folder: Path) -> tuple[str, ...]:
    """Return the list ``require`` of ``[tool.quintain]`` in a folder's ``pyproject.toml``.

    Args:
        folder: Folder of the project.

    Returns:
        The requirements as they are written; none without a file or a list.

    Raises:
        DataError: If the file cannot be read, or ``require`` is not a list of strings.
    """
    path = folder / "pyproject.toml"
    if not path.exists():
        return ()
    try:
        table: object = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(
            f"{path} cannot be read: {error}; correct the file, or run from another folder"
        ) from None
    for key in ("tool", "quintain"):
        table = table.get(key, {}) if isinstance(table, dict) else {}
    required = table.get("require", []) if isinstance(table, dict) else table
    if not isinstance(required, list) or not all(isinstance(text, str) for text in required):
        raise DataError(f"{path}: [tool.quintain] require = {required!r}; expected a list of strings")
    return tuple(required)
