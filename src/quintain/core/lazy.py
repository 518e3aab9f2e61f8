"""Names that are imported when first used, so that ``import quintain`` and ``--help`` stay light."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_exports(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's ``__getattr__`` and ``__dir__``.

    A public name must not be that of a submodule, unless it stands for the submodule: importing that would hide it.

    Args:
        package: The package's ``__name__``.
        homes: Public name to the module that defines it; a home that ends in the name itself is the module.
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = import_module(homes[name])
        return home if homes[name] == f"{package}.{name}" else getattr(home, name)

    def __dir__() -> list[str]:
        return sorted(homes)

    return __getattr__, __dir__
