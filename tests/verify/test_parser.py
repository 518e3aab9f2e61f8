"""Properties in VNN-LIB 1.0 as they are written, and what is none."""

import gzip
import itertools
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain.core.errors import DataError, NotFoundError
from quintain.verify import parse_property, read_property
from quintain.verify.properties import Row, Violation, inward_box, outward_box
from tests.verify.nets import box, declared

HEAD = declared(2, 2) + box([0, -0.5], [1, "1e-1"])


def rows_of(text):
    return [one.rows for one in parse_property(HEAD + text).violations]


def test_a_row_is_what_outputs_keep_to_as_written():
    (rows,) = rows_of("(assert (<= Y_0 Y_1))")
    assert rows == (Row(((0, Fraction(1)), (1, Fraction(-1))), (), Fraction(0)),)
    (rows,) = rows_of("(assert (>= (+ (* 0.1 Y_0) (- Y_1) X_0 2) (- 3.25e1 (* Y_1 2))))")
    assert rows == (
        Row(((0, Fraction(-1, 10)), (1, Fraction(-1))), ((0, Fraction(-1)),), Fraction(-305, 10)),
    )
    (rows,) = rows_of("(assert (> Y_0 1))")
    assert rows == (Row(((0, Fraction(-1)),), (), Fraction(-1), strict=True),)


def test_the_box_is_the_narrowest_that_is_stated():
    found = parse_property(HEAD + "(assert (<= (* 2 X_0) 1.0))(assert (>= 0.25 X_1))")
    assert found.violations == (
        Violation((Fraction(0), Fraction(-1, 2)), (Fraction(1, 2), Fraction(1, 10)), ()),
    )
    assert (found.num_inputs, found.num_outputs) == (2, 2)


def test_asserts_behind_an_or_are_in_each_of_its_cases():
    text = "(assert (or (and (<= Y_0 0)) (and (<= Y_1 0) (<= Y_0 1))))\n(assert (<= Y_0 Y_1)) ; behind it"
    first, second = rows_of(text)
    assert (len(first), len(second)) == (2, 3)
    assert first[-1] == second[-1] == Row(((0, Fraction(1)), (1, Fraction(-1))), (), Fraction(0))


def test_ors_multiply_out_and_boxes_may_differ_by_case():
    text = "(assert (or (and (<= X_0 0.5)) (and (>= X_0 0.5))))(assert (or (<= Y_0 0) (<= Y_1 0)))"
    found = parse_property(HEAD + text).violations
    assert [(one.lower[0], one.upper[0]) for one in found] == [(0, 0.5), (0, 0.5), (0.5, 1), (0.5, 1)]
    assert [one.rows[0].outputs[0][0] for one in found] == [0, 1, 0, 1]


def test_cases_that_no_input_is_in_are_left_out():
    assert rows_of("(assert (or (and (<= 1 0)) (and (>= X_0 2)) (<= Y_0 0)))") == rows_of(
        "(assert (<= Y_0 0))"
    )
    assert rows_of("(assert (and (<= X_0 0.2) (>= X_0 0.3)))") == []
    assert len(rows_of("(assert (and (<= X_0 0.2) (>= X_0 0.2) (<= 0 0)))")) == 1


def test_a_packed_file_and_other_commands_are_read(tmp_path):
    text = (
        "; a comment ( with ) signs\n(set-logic QF_LRA)\n" + HEAD + "(assert\n  (<= Y_0\n 0))\n(check-sat)\n"
    )
    (tmp_path / "p.vnnlib.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "p.vnnlib").write_text(text)
    assert read_property(tmp_path / "p.vnnlib.gz") == read_property(tmp_path / "p.vnnlib")
    with pytest.raises(NotFoundError, match="expected a property"):
        read_property(tmp_path / "q.vnnlib")
    (tmp_path / "bytes.vnnlib").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is no text"):
        read_property(tmp_path / "bytes.vnnlib")


def test_what_stands_in_quotes_is_one_word():
    text = '(set-info :a "x (")\n(assert (<= Y_0 0))\n(set-info :b "y ) ; z")\n(assert (<= Y_1 0))'
    assert parse_property(HEAD + text) == parse_property(HEAD + "(assert (<= Y_0 0))(assert (<= Y_1 0))")


REFUSED = {
    "version 2": ("(vnnlib-version <2.0>)", r"line 9: \(vnnlib-version ...\) is VNN-LIB 2.0; expected 1.0"),
    "a network": ("(declare-network N (declare-input X Real [5]))", "is VNN-LIB 2.0"),
    "a product": ("(assert (<= (* Y_0 Y_1) 0))", "expected a linear term"),
    "not": ("(assert (not (<= Y_0 0)))", "expected <=, >=, <, > of two terms"),
    "three terms": ("(assert (<= Y_0 0 1))", "of two terms"),
    "undeclared": ("(assert (<= Y_7 0))", "'Y_7', which is no number and was not declared"),
    "another name": ("(declare-const Z_0 Real)", "expected X_i or Y_i"),
    "another type": ("(declare-const Y_2 Int)", "a declaration of Y_2; expected X_i or Y_i, Real"),
    "a gap": ("(declare-const Y_4 Real)", "Y_0 to Y_4, 3 of them; expected Y_0, Y_1, ... without gaps"),
    "open": ("(assert (<= Y_0 0)", r"line 9: a \( without its \)"),
    "closed": ("(assert (<= Y_0 0)))", r"line 9: a \) without its \("),
    "outside": ("hello", "'hello' outside of parentheses"),
    "a command": ("(push 1)", r"\(push ...\); expected declare-const or assert"),
    "after the end": ("(check-sat)(assert (<= Y_0 0))", r"an assert after \(check-sat\)"),
    "an endless number": ("(assert (<= Y_0 1e999999999))", "is no number"),
    "deep terms": ("(assert (<= " + "(+ Y_0 " * 2000 + "0" + ")" * 2000 + " 0))", "200 parentheses deep"),
    "deep cases": ("(assert " + "(and " * 199 + "(<= Y_0 0)" + ")" * 200, "200 parentheses deep"),
    "too many": (
        "(assert (or " + "(<= Y_0 0)" * 400 + "))(assert (or " + "(<= Y_0 0)" * 400 + "))",
        "more than 100,000 cases",
    ),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_of_this_form_is_refused_with_the_line(text, said, tmp_path):
    (tmp_path / "p.vnnlib").write_text(HEAD + text)
    with pytest.raises(DataError, match=said) as caught:
        read_property(tmp_path / "p.vnnlib")
    assert "p.vnnlib" in str(caught.value)


def test_an_input_without_an_end_is_refused():
    with pytest.raises(DataError, match="a case in which X_1 has no upper end"):
        parse_property(declared(2, 1) + box([0], [1]) + "(assert (>= X_1 0))(assert (<= Y_0 0))")
    with pytest.raises(DataError, match="declares none; expected X_0"):
        parse_property("")


@settings(deadline=None, max_examples=60)
@given(value=st.fractions(-10, 10) | st.sampled_from([Fraction(10) ** 60, Fraction(1, 10**60), Fraction(0)]))
def test_boxes_are_rounded_outward_and_inward_to_the_next_number(value):
    one = Violation((value,), (value,), ())
    for dtype in (torch.float32, torch.float64):
        (low, high), (least, most) = outward_box(one, dtype), inward_box(one, dtype)
        largest = torch.finfo(dtype).max
        assert float(low) <= value <= float(high) or abs(value) > largest
        assert float(least) >= value >= float(most) or abs(value) > largest
        if abs(value) < largest:
            assert torch.nextafter(low.to(dtype), torch.tensor([torch.inf]).to(dtype)) >= high.to(dtype)
            assert bool(least <= most) == (Fraction(float(low)) == value)


def test_a_formula_means_what_its_cases_do():
    """Against brute force over points: and, or and both in each other."""
    text = (
        "(assert (or (and (<= Y_0 0) (or (<= Y_1 0) (>= Y_1 2))) (and (>= Y_0 1) (<= (+ Y_0 Y_1) 2))))"
        "(assert (or (<= Y_0 Y_1) (>= Y_0 2)))"
    )
    cases = rows_of(text)
    for a, b in itertools.product([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0], repeat=2):
        meant = ((a <= 0 and (b <= 0 or b >= 2)) or (a >= 1 and a + b <= 2)) and (a <= b or a >= 2)
        kept = [all(row.excess([0, 0], [a, b]) <= 0 for row in rows) for rows in cases]
        assert any(kept) == meant


def test_two_hundred_parentheses_are_read():
    deep = "(assert " + "(and " * 198 + "(<= Y_0 0)" + ")" * 199
    assert parse_property(HEAD + deep) == parse_property(HEAD + "(assert (<= Y_0 0))")
