"""A parser of VNN-LIB 1.0, the part of SMT-LIB in which VNN-COMP stated properties from 2021 to 2025.

The ``vnnlib`` package on PyPI (1.0.2, June 2026, MIT) reads VNN-LIB 2.0 alone and refuses these files at
their first line, so that there is a parser here; it needs nothing but the standard library. Files of version
2.0 (``declare-network``) are recognized and refused.

Numbers are kept as the rational numbers that are written: rounding is up to who uses them.
"""

import gzip
import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from quintain.core.errors import DataError, NotFoundError
from quintain.verify.properties import Property, Row, Violation

MAX_CASES = 100_000
"""Cases of a property, of which each is a box and rows; a file that multiplies out to more is refused."""

MAX_DEPTH = 200
"""Parentheses within each other; a file that nests more is refused."""

TOKEN = re.compile(r';[^\n]*|[()]|"[^"]*"|\|[^|]*\||[^\s();]+')
VARIABLE = re.compile(r"([XY])_(\d+)")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
IGNORED = {"set-logic", "set-info", "set-option", "check-sat", "get-model", "exit"}
ENDS = {"check-sat", "exit"}
VERSION_2 = {"vnnlib-version", "declare-network", "declare-input", "declare-output", "declare-hidden"}
COMPARISONS = {"<=": (1, False), "<": (1, True), ">=": (-1, False), ">": (-1, True)}
"""The sign that turns a - b into what is at most 0, and whether it is strict."""


class _Linear(NamedTuple):
    """A linear function of the variables, by their names."""

    slopes: dict[str, Fraction]
    constant: Fraction


class _AtMostZero(NamedTuple):
    """A linear function that is at most 0, or below it."""

    left: _Linear
    strict: bool


def read_property(path: str | Path) -> Property:
    """Read a file in VNN-LIB 1.0, packed by gzip where its name ends in ``.gz``.

    Raises:
        NotFoundError: If there is no such file.
        DataError: If it is not such a file; as of ``parse_property``.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}; expected a property in VNN-LIB 1.0")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = data.decode()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no text: {error}; expected a property in VNN-LIB 1.0") from error
    try:
        return parse_property(text)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def parse_property(text: str) -> Property:
    """Parse a property in VNN-LIB 1.0.

    Inequalities of linear functions of ``X_i`` and ``Y_j``, ``and`` and ``or`` in any order and depth.
    Several ``assert`` hold together, those behind an ``or`` in each of its cases, too. Each case needs both
    ends of every input; what it says of inputs beside is a row like those of outputs.

    Raises:
        DataError: For version 2.0, for what is not of this form, with the line; for an input without an end.
    """
    declared: set[str] = set()
    cases: list[list[_AtMostZero]] = [[]]
    ended = ""
    for line, command in _commands(text):
        head = command[0] if command and isinstance(command[0], str) else ""
        if head in VERSION_2:
            raise DataError(
                f"line {line}: ({head} ...) is VNN-LIB 2.0; expected 1.0, with (declare-const X_0 Real) and "
                "(assert (<= X_0 1.0)). Convert the property, or take the 1.0 file of the same benchmark"
            )
        if head in ("declare-const", "declare-fun"):
            name = command[1] if len(command) > 1 and isinstance(command[1], str) else ""
            if not VARIABLE.fullmatch(name) or command[-1] != "Real":
                raise DataError(
                    f"line {line}: a declaration of {name or 'nothing'}; expected X_i or Y_i, Real"
                )
            declared.add(name)
        elif head == "assert" and len(command) == 2:
            if ended:
                raise DataError(f"line {line}: an assert after ({ended}); expected all of them before")
            found = _cases(command[1], declared, line)
            if len(cases) * len(found) > MAX_CASES:
                raise DataError(f"line {line}: more than {MAX_CASES:,} cases; expected fewer")
            cases = [[*first, *second] for first, second in product(cases, found)]
        elif head not in IGNORED:
            raise DataError(f"line {line}: ({head} ...); expected declare-const or assert of VNN-LIB 1.0")
        ended = head if head in ENDS else ended
    num_inputs, num_outputs = (_count(declared, kind) for kind in "XY")
    built = (_violation(case, num_inputs) for case in cases)
    return Property(num_inputs, num_outputs, tuple(one for one in built if one is not None))


def _commands(text: str) -> Iterator[tuple[int, list[Any]]]:
    """Give each command as nested lists, with the line at which it begins."""
    stack: list[list[Any]] = []
    line, begun, last = 1, 1, 0
    for match in TOKEN.finditer(text):
        line += text.count("\n", last, match.start())
        last, token = match.start(), match.group()
        if token.startswith(";"):
            continue
        if token == "(":
            begun = line if not stack else begun
            if len(stack) == MAX_DEPTH:
                raise DataError(f"line {line}: more than {MAX_DEPTH} parentheses deep; expected fewer")
            stack.append([])
        elif token == ")":
            if not stack:
                raise DataError(f"line {line}: a ) without its (")
            done = stack.pop()
            if stack:
                stack[-1].append(done)
            else:
                yield begun, done
        elif not stack:
            raise DataError(f"line {line}: {token[:40]!r} outside of parentheses; expected VNN-LIB 1.0")
        else:
            stack[-1].append(token)
    if stack:
        raise DataError(f"line {begun}: a ( without its )")


def _cases(formula: object, declared: set[str], line: int) -> list[list[_AtMostZero]]:
    """Return a formula as cases of inequalities (disjunctive normal form)."""
    if not isinstance(formula, list) or not formula or not isinstance(formula[0], str):
        raise DataError(f"line {line}: {_short(formula)}; expected (<= a b), (>= a b), (and ...) or (or ...)")
    head, *parts = formula
    if head in COMPARISONS and len(parts) == 2:
        sign, strict = COMPARISONS[head]
        left, right = (_linear(part, declared, line) for part in parts)
        return [[_AtMostZero(_plus(_times(left, Fraction(sign)), _times(right, Fraction(-sign))), strict)]]
    if head == "or":
        return [case for part in parts for case in _cases(part, declared, line)]
    if head == "and":
        found: list[list[_AtMostZero]] = [[]]
        for part in parts:
            cases = _cases(part, declared, line)
            if len(found) * len(cases) > MAX_CASES:
                raise DataError(f"line {line}: more than {MAX_CASES:,} cases; expected fewer")
            found = [[*first, *second] for first, second in product(found, cases)]
        return found
    raise DataError(f"line {line}: {_short(formula)}; expected <=, >=, <, > of two terms, and, or")


def _linear(term: object, declared: set[str], line: int) -> _Linear:
    """Return a term as a linear function."""
    if isinstance(term, str):
        if NUMBER.fullmatch(term):
            return _Linear({}, Fraction(term))
        if term in declared:
            return _Linear({term: Fraction(1)}, Fraction(0))
        raise DataError(f"line {line}: {term[:40]!r}, which is no number and was not declared before")
    parts = [_linear(part, declared, line) for part in term[1:]] if isinstance(term, list) and term else []
    head = term[0] if isinstance(term, list) and term else None
    if head == "+" and parts:
        total = parts[0]
        for part in parts[1:]:
            total = _plus(total, part)
        return total
    if head == "-" and parts:
        if len(parts) == 1:
            return _times(parts[0], Fraction(-1))
        total = parts[0]
        for part in parts[1:]:
            total = _plus(total, _times(part, Fraction(-1)))
        return total
    if head == "*" and parts and sum(bool(part.slopes) for part in parts) <= 1:
        total = _Linear({}, Fraction(1))
        for part in sorted(parts, key=lambda one: bool(one.slopes)):
            total = _times(part, total.constant)
        return total
    raise DataError(
        f"line {line}: {_short(term)}; expected a linear term: numbers, variables, +, -, * by numbers"
    )


def _plus(a: _Linear, b: _Linear) -> _Linear:
    slopes = {
        name: a.slopes.get(name, Fraction(0)) + b.slopes.get(name, Fraction(0))
        for name in {**a.slopes, **b.slopes}
    }
    return _Linear({name: slope for name, slope in slopes.items() if slope}, a.constant + b.constant)


def _times(a: _Linear, factor: Fraction) -> _Linear:
    return _Linear({name: slope * factor for name, slope in a.slopes.items() if factor}, a.constant * factor)


def _count(declared: set[str], kind: str) -> int:
    numbers = sorted(int(name[2:]) for name in declared if name.startswith(kind))
    if not numbers or numbers != list(range(len(numbers))):
        got = f"{kind}_{numbers[0]} to {kind}_{numbers[-1]}, {len(numbers)} of them" if numbers else "none"
        raise DataError(f"declares {got}; expected {kind}_0, {kind}_1, ... without gaps")
    return len(numbers)


def _violation(inequalities: list[_AtMostZero], num_inputs: int) -> Violation | None:
    """Return a case, None if no input can be in it."""
    lower: list[Fraction | None] = [None] * num_inputs
    upper: list[Fraction | None] = [None] * num_inputs
    rows: list[Row] = []
    for left, strict in inequalities:
        names = list(left.slopes)
        if not names:
            if left.constant > 0 or (strict and left.constant == 0):
                return None
        elif len(names) == 1 and names[0].startswith("X") and not strict:
            at, slope = int(names[0][2:]), left.slopes[names[0]]
            end = -left.constant / slope
            held = upper if slope > 0 else lower
            known = held[at]
            held[at] = end if known is None else (min(known, end) if slope > 0 else max(known, end))
        else:
            outputs, inputs = (
                tuple(
                    sorted((int(name[2:]), slope) for name, slope in left.slopes.items() if name[0] == kind)
                )
                for kind in "YX"
            )
            rows.append(Row(outputs, inputs, -left.constant, strict))
    for kind, ends in (("lower", lower), ("upper", upper)):
        if None in ends:
            raise DataError(
                f"a case in which X_{ends.index(None)} has no {kind} end; expected a box of inputs"
            )
    low, high = (tuple(end for end in ends if end is not None) for ends in (lower, upper))
    return None if any(a > b for a, b in zip(low, high, strict=True)) else Violation(low, high, tuple(rows))


def _short(formula: object) -> str:
    text = " ".join(map(_short, formula)) if isinstance(formula, list) else str(formula)
    text = f"({text})" if isinstance(formula, list) else text
    return text if len(text) < 80 else f"{text[:76]} ..."
