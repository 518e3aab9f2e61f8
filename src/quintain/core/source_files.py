"""A Python file of the user's together with what it imports from its own folder, as one hash."""

import ast
from collections.abc import Iterator
from pathlib import Path

from quintain.core.files import read_bytes, sha256, sha256_file

IMPORTERS = ("import_module", "__import__")
"""Functions that import what they are given a name of."""


def source_hash(path: Path) -> str:
    """Return SHA-256 over a Python file and the files that it imports from its own folder.

    Of a file that imports none of them it is that of the file itself. Files count by their places in the
    folder and their content; imports in functions count, too, and so do those of what is imported, and names
    that ``importlib.import_module`` and ``__import__`` are given as literals. What is imported by a name that
    is made while the code runs, files that ``runpy`` or ``exec`` runs, packages from elsewhere and data files
    do not count.

    Raises:
        StorageError: If a file cannot be read.
    """
    files = imported_files(path)
    if not files:
        return sha256_file(path)
    folder = path.resolve().parent
    listed = [(one.relative_to(folder).as_posix(), sha256_file(one)) for one in files]
    return sha256(repr((sha256_file(path), listed)).encode())


def imported_files(path: Path) -> tuple[Path, ...]:
    """Return the files that a Python file imports from its own folder and below, directly or through others.

    Args:
        path: The file, whose folder is importable while it runs.

    Raises:
        StorageError: If a file cannot be read.
    """
    start = path.resolve()
    folder, found, left = start.parent, {start}, [start]
    while left:
        one = left.pop()
        for module in _imported_modules(one, folder):
            new = {file.resolve() for file in _files_of(module, folder)} - found
            found |= new
            left += new
    return tuple(sorted(found - {start}))


def _imported_modules(file: Path, folder: Path) -> Iterator[tuple[str, ...]]:
    """Yield the names of the modules that a file may import, in parts: also of what may be no module."""
    try:
        tree = ast.parse(read_bytes(file))
    except (SyntaxError, ValueError):
        return  # importing it says so
    package = file.parent.relative_to(folder).parts if file.parent.is_relative_to(folder) else ()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = _package_above(package, node.level)
            base = (*above, *node.module.split(".")) if node.module else above
            yield base
            yield from ((*base, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and (name := _literal_import(node)):
            level = len(name) - len(name.lstrip("."))
            yield (*_package_above(package, level), *filter(None, name.split(".")))


def _package_above(package: tuple[str, ...], level: int) -> tuple[str, ...]:
    """Return what a relative import of so many dots starts from; nothing for an absolute one."""
    return package[: len(package) - level + 1] if level else ()


def _literal_import(call: ast.Call) -> str:
    """Return the name that ``import_module`` or ``__import__`` is given as a literal; else nothing."""
    function = call.func
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if called not in IMPORTERS:
        return ""
    given = [*call.args[:1], *(one.value for one in call.keywords if one.arg == "name")]
    return next(
        (one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)), ""
    )


def _files_of(module: tuple[str, ...], folder: Path) -> Iterator[Path]:
    """Yield the files of a module in a folder, and of the packages that it is in; none if it is elsewhere."""
    for length in range(1, len(module) + 1):
        place = folder.joinpath(*module[:length])
        yield from (one for one in (place.with_suffix(".py"), place / "__init__.py") if one.is_file())
