"""A Python file of the user: imported, and its errors said in one line."""

import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from quintain.core.errors import ModelError, NotFoundError, QuintainError, SettingError
from quintain.core.files import sha256
from quintain.core.source_files import source_hash
from quintain.core.user_code import FAILURES, failure_text


@contextmanager
def user_object(path: Path, name: str) -> Iterator[Any]:
    """Give an object of a user's file; errors of that file while it is in use are shown in one line."""
    if not path.is_file():
        raise NotFoundError(
            f"there is no file {path}; expected path/to/file.py:factory, or a name from 'quintain list'"
        )
    with one_line_errors(str(path)), folder_importable(path), warnings_once():
        module = import_file(path)
        if not hasattr(module, name):
            offered = sorted(
                key
                for key, value in vars(module).items()
                if callable(value) and getattr(value, "__module__", "") == module.__name__
            )
            raise NotFoundError(
                f"{path} has no {name!r}; it has {', '.join(offered) or 'no function or class'}"
            )
        yield getattr(module, name)


@dataclass(frozen=True, slots=True)
class UserFunction:
    """A function of a user's file, which is imported once; whatever a call raises is said in one line.

    Args:
        spec: ``path/to/file.py:function``.
        function: What the file calls so.
        path: The file.
        file_hash: SHA-256 of the file and of what it imports from its own folder, see ``source_hash``.
    """

    spec: str
    function: Callable[..., Any]
    path: Path
    file_hash: str

    def __call__(self, *given: object) -> Any:
        """Call it, with its own folder importable.

        Raises:
            ModelError: If it raises anything, with the line of its file.
        """
        with one_line_errors(str(self.path)), folder_importable(self.path), warnings_once():
            return self.function(*given)


def load_user_function(spec: str, *, expected: str) -> UserFunction:
    """Load a function of a user's file, which is run as Python code: give only files that you trust.

    Args:
        spec: ``path/to/file.py:function``.
        expected: How it is called, such as ``train(dataset, seed)``, for messages.

    Raises:
        SettingError: If it names no function.
        NotFoundError: If there is no such file, or it has nothing of that name.
        ModelError: If the file cannot be run, or what it has of that name cannot be called.
    """
    place, _, name = spec.rpartition(":")
    if not place.endswith(".py"):
        raise SettingError(f"got {spec}; expected path/to/file.py:function, where the function is {expected}")
    path = Path(place).expanduser()
    with user_object(path, name) as found:
        pass
    if not callable(found):
        raise ModelError(f"{spec} is a {type(found).__name__}; expected a function {expected}")
    return UserFunction(spec, found, path, source_hash(path))


def import_file(path: Path) -> ModuleType:
    """Import a file under a name of its own.

    Raises:
        ModelError: If Python cannot import such a file.
    """
    name = f"quintain_user_{path.stem}_{sha256(str(path.resolve()).encode())[:8]}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path} cannot be imported; expected a Python file")
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and inspect look a class's module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:  # also SystemExit of the file: no module stays that is half imported
        del sys.modules[name]
        raise
    return module


@contextmanager
def one_line_errors(where: str) -> Iterator[None]:
    """Turn any error of code that is not ours into one line; ``where`` is its file or its name."""
    try:
        yield
    except QuintainError:
        raise
    except SyntaxError as error:
        raise ModelError(
            f"{error.filename or where}, line {error.lineno}: {error.msg}; correct it and run again"
        ) from error
    except FAILURES as error:
        file = Path(where).resolve()
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename).resolve() == file
        ]
        raise ModelError(
            f"{where}{f', line {lines[-1]}' if lines else ''}: {failure_text(error)}; correct it and run "
            "again"
        ) from error


_WARNED: set[tuple[str, int, type[Warning], str]] = set()
"""Where users' files warned, of what kind and what."""


@contextmanager
def warnings_once() -> Iterator[None]:
    """Show each warning of a user's file once: it is imported anew for each net, so that Python forgets."""
    with warnings.catch_warnings(record=True) as caught:
        yield
    for one in caught:
        key = (one.filename, one.lineno, one.category, str(one.message))
        if key not in _WARNED:
            _WARNED.add(key)
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


@contextmanager
def folder_importable(path: Path) -> Iterator[None]:
    """Let a file import from its own folder while its code runs, as when Python runs the file itself."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(folder)
