"""The program of a function as text: its source without comments and layout, or else its bytecode."""

import ast
import dis
import linecache
import re
import textwrap
import tokenize
from collections.abc import Iterator
from functools import lru_cache
from inspect import getblock
from types import CodeType, FunctionType


def source_of(function: FunctionType) -> str:
    """Return a function's own source without comments, docstrings and layout; else its bytecode.

    What the function wraps is not followed. A lambda has its bytecode, since two of them may share a line.
    """
    code = function.__code__
    return f"{function.__qualname__}\n{_source(code, code.co_filename) or bytecode(code)}"


def names_in(code: CodeType) -> Iterator[str]:
    """Yield the global names and attributes that a function's code reads, also inside its inner functions."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_in(constant)


@lru_cache(maxsize=4096)
def global_names_in(code: CodeType) -> frozenset[str]:
    """Return the names of ``names_in`` that are read otherwise than as attributes, such as ``self.scale``."""
    names = {
        instruction.argval
        for instruction in dis.get_instructions(code)
        if instruction.opcode in dis.hasname and not re.search("ATTR|METHOD", instruction.opname)
    }
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return frozenset(names).union(*map(global_names_in, inner))


def bytecode(code: CodeType) -> str:
    """Return all that a code object computes with as text, the same in each process."""
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    constants = " ".join(map(_constant, code.co_consts))
    return f"{code.co_code.hex()} {code.co_exceptiontable.hex()} {counts} {names} {constants}"


def _constant(value: object) -> str:
    """Return a constant as text; the items of a frozenset sorted, since their order follows the process."""
    if isinstance(value, CodeType):
        return bytecode(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_constant, value))})"
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(_constant, value)))}}}"
    return repr(value)


@lru_cache(maxsize=4096)
def _source(code: CodeType, filename: str) -> str | None:
    """Return the source of a function's code, None where there is none; the name of its file is no part."""
    if code.co_name == "<lambda>":
        return None
    linecache.checkcache(filename)
    try:
        block = getblock(linecache.getlines(filename)[code.co_firstlineno - 1 :])
        tree = ast.parse(textwrap.dedent("".join(block)))
    except (OSError, SyntaxError, IndexError, tokenize.TokenError):
        return None
    first = tree.body[0] if tree.body else None
    if not isinstance(first, ast.FunctionDef | ast.AsyncFunctionDef) or first.name != code.co_name:
        return None  # the file holds something else there now
    for node in ast.walk(tree):  # docstrings go, so that editing them keeps the hash
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and len(node.body) > 1
            and ast.get_docstring(node, clean=False) is not None
        ):
            del node.body[0]
    return ast.unparse(tree)
