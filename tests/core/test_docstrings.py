"""Docstrings name the arguments that are there, one on a line of its own."""

import ast
import re
from pathlib import Path

import pytest

import quintain

PACKAGE = Path(quintain.__file__).parent
LIST = re.compile(r"^ *(Args|Attributes|Raises|Returns): +\S", re.MULTILINE)
ARGS = re.compile(r"^Args:\n((?:    .*\n?|\n)+)", re.MULTILINE)
ITEM = re.compile(r"    ([*\w]+(?:, [*\w]+)*): ")


def parameters(node):
    """Names that a function takes, or that a class has as fields; None where it may inherit some."""
    if isinstance(node, ast.FunctionDef):
        a = node.args
        return {x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg) if x is not None}
    if node.bases:
        return None
    names = {
        b.target.id for b in node.body if isinstance(b, ast.AnnAssign) and isinstance(b.target, ast.Name)
    }
    made = (b for b in node.body if isinstance(b, ast.FunctionDef) and b.name in ("__init__", "__new__"))
    return names.union(*map(parameters, made))


def documented(node):
    """Names under ``Args:`` of a docstring."""
    found = ARGS.search(ast.get_docstring(node) or "")
    items = map(ITEM.match, found.group(1).splitlines()) if found else ()
    return [name.strip("*") for item in items if item for name in item.group(1).split(", ")]


@pytest.mark.parametrize(
    "folder", sorted({path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")})
)
def test_docstrings_name_the_arguments_that_are_there(folder):
    wrong = []
    place = PACKAGE / folder
    for path in place.rglob("*.py") if place.is_dir() else [place]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                if LIST.search(ast.get_docstring(node) or ""):
                    wrong.append(f"{path.name}: {node.name} runs a list into its heading")
                have = parameters(node)
                if have is not None:
                    wrong += [
                        f"{path.name}: {node.name} has no {name}"
                        for name in documented(node)
                        if name not in have
                    ]
    assert wrong == []


def test_a_wrong_name_and_a_list_run_together_are_seen():
    bad = ast.parse('''def f(a):
    """Do.

    Args:
        b: It.
    """
''').body[0]
    assert documented(bad) == ["b"]
    assert parameters(bad) == {"a"}
    assert LIST.search("Do.\n\nArgs: a: It.")
