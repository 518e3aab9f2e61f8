"""Names that are imported when first used, so that ``import quintain`` and ``--help`` stay light."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_exports(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's ``__getattr__`` and ``__dir__``.

    No public name may equal the name of a submodule, because importing the submodule would overwrite it,
    unless the name is that submodule.

    Args:
        package: The package's ``__name__``.
        modules: Public name to the module that defines it; a path that ends in the name itself is the module.
    """

    def __getattr__(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = import_module(modules[name])
        return home if modules[name] == f"{package}.{name}" else getattr(home, name)

    def __dir__() -> list[str]:
        return sorted(modules)

    return __getattr__, __dir__
