"""The tree of errors and its exit codes."""

from importlib import import_module
from pkgutil import walk_packages

import pytest

import quintain
from quintain.core import errors


def every(kind: type) -> set[type]:
    return {kind}.union(*(every(child) for child in kind.__subclasses__()))


def test_each_error_has_one_of_the_documented_exit_codes():
    assert {kind.exit_code for kind in every(errors.QuintainError)} == {
        errors.ExitCode.USAGE,
        errors.ExitCode.ALARM,
        errors.ExitCode.EXECUTION,
    }


def test_the_tree_in_the_docstring_names_every_error():
    for module in walk_packages(quintain.__path__, "quintain."):
        # what needs Flower is imported by tests/flower, in an environment of its own
        if not module.name.endswith("__main__") and ".federated.flower." not in module.name:
            import_module(module.name)
    own = [kind for kind in every(errors.QuintainError) if kind.__module__.startswith("quintain.")]
    assert [kind.__name__ for kind in own if kind.__name__ not in errors.__doc__] == []


@pytest.mark.parametrize(("typed", "meant"), [("pdg", "pgd"), ("fgms", "fgsm")])
def test_an_unknown_name_suggests_the_nearest(typed, meant):
    assert f"Did you mean {meant}?" in str(
        errors.UnknownNameError("attack", typed, ["fgsm", "pgd", "square"])
    )


@pytest.mark.parametrize(("kind", "article"), [("attack", "an"), ("aggregation", "an"), ("threat", "a")])
def test_a_name_of_another_kind_names_that_kind(kind: str, article: str) -> None:
    message = str(errors.UnknownNameError("model", "x", [], other_kinds=(kind,)))
    assert message.startswith(f"'x' is no model but {article} {kind}; see 'quintain list {kind}'")


def test_an_unknown_name_far_from_all_lists_them():
    assert "Known: fgsm, pgd." in str(errors.UnknownNameError("attack", "zzzzzzzz", ["pgd", "fgsm"]))
