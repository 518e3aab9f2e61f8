"""Lazy packages: what they promise exists, and nothing hides it."""

import importlib
import pkgutil

import pytest

import quintain

PACKAGES = [
    "quintain",
    *(f"quintain.{found.name}" for found in pkgutil.iter_modules(quintain.__path__) if found.ispkg),
]


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_exists_and_no_submodule_hides_it(name):
    package = importlib.import_module(name)
    submodules = {found.name for found in pkgutil.iter_modules(package.__path__)}
    for public in dir(package) if "__getattr__" in vars(package) else ():
        value = getattr(package, public)
        stands_for_module = getattr(value, "__name__", "") == f"{name}.{public}"
        assert public not in submodules or stands_for_module


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        quintain.nothing  # noqa: B018
