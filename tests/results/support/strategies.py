"""Records of any shape, for the codec's laws."""

import math
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from quintain.core.errors import SettingError
from quintain.results.bounds import Bound, Bracket
from quintain.results.class_counts import ClassCounts
from quintain.results.evidence import ConfidenceLevels, CountEvidence
from quintain.results.per_example import PerExample
from quintain.results.quantity import Basis, Metric, Quantity, Side
from quintain.results.records import SCHEMA, Record, StepResult

texts = st.text(max_size=12)
numbers = st.one_of(st.floats(allow_nan=False, width=64), st.just(math.inf), st.integers(0, 9).map(float))
tallies = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=3).map(
    lambda rows: ClassCounts(tuple(min(r, t) for r, t in rows), tuple(t for _, t in rows))
)
counts = st.tuples(st.integers(0, 50), st.integers(1, 50), st.floats(0, 0.1)).map(
    lambda v: CountEvidence(min(v[0], v[1]), v[1], v[2])
)
levels = st.lists(st.floats(0.5, 0.999), max_size=3, unique=True).map(
    lambda v: ConfidenceLevels(tuple(sorted(v)), tuple(1.0 for _ in v))
)
quantities = st.builds(
    Quantity,
    st.sampled_from(Metric),
    texts,
    texts,
    texts,
    st.one_of(st.none(), st.floats(0, 1)),
    texts,
    texts,
    texts,
    st.one_of(st.none(), st.floats(0, 1)),
)
examples = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.integers(0, 3),
        st.integers(-1, 3),
        st.floats(0, 1),
        st.just(math.inf),
        st.booleans(),
    ),
    max_size=4,
).map(
    lambda rows: (
        PerExample(*(tuple(column) for column in zip(*rows, strict=True)))
        if rows
        else PerExample((), (), (), (), (), ())
    )
)


@st.composite
def brackets(draw: st.DrawFn) -> Bracket:
    of = draw(quantities)
    low, high = of.metric.range
    value = st.sampled_from([low, 0.25, 0.5, high])
    evidence = st.one_of(st.none(), counts, levels)

    def side(which: Side) -> Bound:
        return Bound(
            of,
            which,
            draw(value),
            draw(st.sampled_from(Basis)),
            draw(evidence),
            draw(texts),
            tuple(draw(st.lists(texts, max_size=2))),
        )

    return Bracket(
        side(Side.LOWER),
        side(Side.UPPER),
        draw(st.one_of(st.none(), st.floats(0, 1))),
        draw(st.integers(0, 3)),
        draw(st.integers(0, 3)),
    )


SPECIAL = {
    ClassCounts: tallies,
    ConfidenceLevels: levels,
    Bracket: brackets(),
    Quantity: quantities,
    PerExample: examples,
    str: texts,
    float: numbers,
    int: st.integers(0, 2**40),
}


@cache
def of_type(wanted: Any) -> st.SearchStrategy[Any]:
    """Anything of a record's field."""
    if wanted in SPECIAL:
        return SPECIAL[wanted]
    if wanted is bool:
        return st.booleans()
    if wanted is NoneType:
        return st.none()
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin is Literal:
        return st.sampled_from(inner)
    if origin in (Union, UnionType):
        return st.one_of(*map(of_type, inner))
    if origin is tuple and inner[-1] is Ellipsis:
        return st.lists(of_type(inner[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(of_type, inner))
    if wanted is Bound:
        return brackets().map(lambda bracket: bracket.lower)
    if is_dataclass(wanted):
        hints = get_type_hints(wanted)
        return st.builds(wanted, **{field.name: of_type(hints[field.name]) for field in fields(wanted)})
    if isinstance(wanted, type):
        return st.sampled_from(list(wanted))
    raise SettingError(f"no strategy for {wanted}")


@cache
def records(body: Any = StepResult) -> st.SearchStrategy[Record]:
    """Any record, or any with one kind of body."""
    hints = get_type_hints(Record)
    parts = {name: of_type(hint) for name, hint in hints.items() if name not in ("schema", "result")}
    return st.builds(Record, schema=st.just(SCHEMA), result=of_type(body), **parts)
