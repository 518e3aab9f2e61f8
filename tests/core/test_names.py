"""One name is one thing: no two public classes of the package share a name."""

import ast
from collections import defaultdict
from pathlib import Path

import quintain

PACKAGE = Path(quintain.__file__).parent


def test_no_two_public_classes_have_one_name():
    places = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(PACKAGE)))
    assert len(places) > 300
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_constructors_take_more_than_five_arguments_by_keyword():
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}
    classes = {
        node.name for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    }
    calls = [
        (str(path.relative_to(PACKAGE)), node.lineno, ast.unparse(node.func))
        for path, tree in trees.items()
        if path.name != "_index.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and sum(not isinstance(arg, ast.Starred) for arg in node.args) > 5
    ]
    assert len(calls) > 20
    assert [call for call in calls if call[2].rpartition(".")[2] in classes | {"cls"}] == []
