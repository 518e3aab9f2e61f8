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


def nodes_of(tree):
    """All nodes of a tree, in any order: ``ast.walk`` takes three times as long over the whole package."""
    left = [tree]
    while left:
        node = left.pop()
        yield node
        for value in vars(node).values():
            if isinstance(value, list):
                left += [one for one in value if isinstance(one, ast.AST)]
            elif isinstance(value, ast.AST) and not isinstance(value, ast.expr_context):
                left.append(value)


def test_constructors_take_more_than_five_arguments_by_keyword():
    classes, calls = {"cls"}, []
    for path in PACKAGE.rglob("*.py"):
        for node in nodes_of(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                classes.add(node.name)
            elif isinstance(node, ast.Call) and len(node.args) > 5 and path.name != "_index.py":
                given = [arg for arg in node.args if not isinstance(arg, ast.Starred)]
                if len(given) > 5:
                    calls.append((str(path.relative_to(PACKAGE)), node.lineno, ast.unparse(node.func)))
    assert len(calls) > 20
    assert [call for call in calls if call[2].rpartition(".")[2] in classes] == []
