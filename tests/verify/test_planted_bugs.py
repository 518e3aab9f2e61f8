"""Planted bugs of verifiers and referees: each gives a wrong answer on an instance whose answer is known."""

import pytest

from quintain.verify import boxes, counterexamples, prover, referee, verifier, verify_property
from quintain.verify.counterexamples import ViolationSearch
from tests.verify.nets import write_net, write_property

RELU = [([[1.0]], [0.0]), ([[1.0]], [0.0])]
"""y = max(x, 0)."""


@pytest.fixture
def net(tmp_path):
    return write_net(tmp_path / "net.onnx", RELU, (1,))


def answered(net, text, lower="-1.0", upper="1.0", seconds=0.3):
    """The answer where nothing is attacked, so that only a proof decides; "unknown" takes all the seconds."""
    return verify_property(
        net, write_property(net.with_suffix(".vnnlib"), [lower], [upper], text, 1), seconds=seconds
    ).answer


VIOLATED = "(assert (or (>= Y_0 0.9) (<= Y_0 -0.5)))"


def of_the_last_case(monkeypatch):
    real = verifier.refute_boxes
    monkeypatch.setattr(
        verifier, "refute_boxes", lambda one, boxes, rows, *end, clock: real(one, boxes[-1:], rows)
    )


def of_one_half(monkeypatch):
    real = boxes.refute_boxes
    monkeypatch.setattr(boxes, "refute_boxes", lambda one, boxes, rows: real(one, boxes[:1], rows))


def of_a_smaller_box(monkeypatch):
    real = boxes.outward_box
    monkeypatch.setattr(boxes, "outward_box", lambda *given: [0.8 * end for end in real(*given)])


def of_rows_that_are_positive(monkeypatch):
    real = prover.Prover.lower
    monkeypatch.setattr(prover.Prover, "lower", lambda *given: real(*given).abs())


@pytest.mark.parametrize(
    "plant", [of_the_last_case, of_one_half, of_a_smaller_box, of_rows_that_are_positive]
)
def test_a_proof_of_less_than_all_is_false(net, monkeypatch, plant):
    monkeypatch.setattr(ViolationSearch, "run", lambda *given, **named: None)
    monkeypatch.setattr(ViolationSearch, "run_from", lambda *given: None)
    assert answered(net, VIOLATED) == "unknown"
    plant(monkeypatch)
    assert answered(net, VIOLATED, seconds=60.0) == "unsat"


def test_the_attack_would_meet_each_false_proof(net):
    assert answered(net, VIOLATED) == "sat"


def test_a_touched_row_counts_where_strictness_is_dropped(net, monkeypatch):
    touched = "(assert (<= Y_0 0.0))"
    assert answered(net, touched, upper="0.0") == "unknown"
    monkeypatch.setattr(
        counterexamples, "_holds", lambda x, y, one: all(row.excess(x, y) <= 0 for row in one.rows)
    )
    monkeypatch.setattr(
        ViolationSearch, "_first", lambda self, x, excess: self.checker.as_counterexample(x[0].numpy())
    )
    assert answered(net, touched, upper="0.0") == "sat"


def test_a_witness_far_outside_is_believed_where_the_box_is_not_looked_at(net, tmp_path, monkeypatch):
    prop = write_property(tmp_path / "p.vnnlib", ["0.0"], ["0.5"], "(assert (>= Y_0 0.9))", 1)
    (tmp_path / "c.txt").write_text("((X_0 0.95) (Y_0 0.95))")
    given = (net, prop, "sat", tmp_path / "c.txt")
    assert referee(*given, seconds=2).decision == "REFUTED"
    monkeypatch.setattr(counterexamples, "is_inside", lambda x, violation: True)
    assert referee(*given, seconds=2).decision == "CONFIRMED"
