"""The package as a whole: what importing costs, by the import graph and no clock, and its public names."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import quintain

HEAVY = (
    "torch",
    "numpy",
    "scipy",
    "pydantic",
    "jinja2",
    "PIL",
    "dp_accounting",
    "cryptography",
    "rich.table",
    "rich.progress",
)
PACKAGES = [
    "quintain",
    *(f"quintain.{found.name}" for found in pkgutil.iter_modules(quintain.__path__) if found.ispkg),
]


def loaded_by(code: str) -> set[str]:
    told = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(told.stdout.split())


def test_importing_quintain_imports_nothing_heavy():
    assert not loaded_by("import quintain").intersection(HEAVY)


def test_the_command_line_and_the_registry_import_nothing_heavy():
    code = (
        "import quintain.cli.main; from quintain.core.registry import KINDS, entries; [entries(kind) "
        "for kind in KINDS]"
    )
    assert not loaded_by(code).intersection(HEAVY)


@pytest.mark.parametrize(
    "code",
    [
        "import quintain.results.gate, quintain.results.codec",
        "import quintain.report.page, quintain.report.changes",
    ],
)
def test_gate_and_report_run_where_torch_does_not(code):
    assert "torch" not in loaded_by(code)


def test_secure_aggregation_needs_no_torch():
    assert "torch" not in loaded_by(
        "from quintain.federated import secagg, secure_sum; secagg.client; secure_sum"
    )


def test_the_laws_need_no_test_framework():
    code = "import quintain.testing as laws; [getattr(laws, name) for name in dir(laws)]"
    assert not loaded_by(code).intersection(("pytest", "hypothesis", "_pytest"))


def test_the_public_surface_is_this():
    assert dir(quintain) == [
        "Classifier",
        "Color",
        "Compose",
        "L0",
        "L1",
        "L2",
        "Linf",
        "Mask",
        "Negative",
        "Patch",
        "ProjectedLight",
        "QuintainError",
        "Spatial",
        "attack",
        "attacks",
        "certify",
        "dp",
        "evaluate",
        "federated",
        "fgsm_attack",
        "harden",
        "leakage",
        "load_data",
        "load_model",
        "losses",
        "results",
        "testing",
        "threats",
        "training",
        "verify",
    ]
    assert all(getattr(quintain, name) is not None for name in dir(quintain))


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
