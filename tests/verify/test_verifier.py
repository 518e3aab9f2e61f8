"""Answers on properties: proofs against brute force, counterexamples in every runtime, and limits of both."""

import itertools
import math
from fractions import Fraction

import numpy as np
import onnxruntime
import pytest
import torch

from quintain.certify.interval.certifier import cast_input
from quintain.certify.rounding import NO_ROUNDING
from quintain.core.errors import ContradictionError, DataError, ModelError, SettingError
from quintain.models import import_onnx
from quintain.models.onnx_net.node import ConvertedNode
from quintain.models.onnx_net.operators import OPERATORS
from quintain.verify import prover as prover_module
from quintain.verify import result_text, verifier, verify_property
from quintain.verify.boxes import whole_boxes
from quintain.verify.branching import split_signs
from quintain.verify.counterexamples import ViolationSearch
from quintain.verify.parser import read_property
from quintain.verify.properties import Property, Violation, outward_box
from quintain.verify.prover import Prover, Rows
from quintain.verify.results import read_result
from quintain.verify.verifier import Instance, all_rows
from tests.verify.nets import answer, box, declared, random_layers, write_net, write_property

pytestmark = pytest.mark.rounding

LAYERS = random_layers((2, 8, 8, 3), seed=3)


@pytest.fixture
def net(tmp_path):
    return write_net(tmp_path / "net.onnx", LAYERS, (2,))


def grid(lower, upper, count=61):
    """Points of a box of two inputs, its corners among them."""
    return np.array(
        list(itertools.product(*(np.linspace(a, b, count) for a, b in zip(lower, upper, strict=True))))
    )


def others_win(label):
    """The violation that is usual for classifiers: some other class is as large."""
    cases = "".join(f"(and (>= Y_{j} Y_{label}))" for j in range(3) if j != label)
    return f"(assert (or {cases}))"


def test_a_net_is_held_against_its_file_where_the_property_is(tmp_path, monkeypatch):
    """An import that is wrong from 500 on alone, far from all inputs that are drawn without a property."""
    net = write_net(tmp_path / "net.onnx", [(np.eye(2), (-500.0, -500.0))], (2,), end="Relu")
    prop = write_property(tmp_path / "p.vnnlib", (0, 0), (1000, 1000), "(assert (>= Y_0 0.5))", 2)
    monkeypatch.setitem(OPERATORS, "Relu", lambda _: ConvertedNode(function=torch.clamp, settings=(0.0, 0.0)))
    import_onnx(net)
    with pytest.raises(ModelError, match="other outputs than onnxruntime"):
        verify_property(net, prop, seconds=5)


def test_a_box_of_many_violations_is_compared_once():
    near, far = (Violation((Fraction(0),), (Fraction(end),), ()) for end in (2, 1000))
    inputs = verifier._box_inputs(Property(1, 1, (near,) * 9 + (far,)), torch.float32)
    assert inputs.tolist() == [[0.0], [1.0], [2.0], [0.0], [500.0], [1000.0]]


CENTERS = [(0.2, -0.4), (0.9, 0.7), (-0.6, 0.1)]


@pytest.mark.parametrize(
    ("center", "eps"),
    [
        *((CENTERS[0], 0.02), (CENTERS[1], 0.3), (CENTERS[2], 0.8)),
        *(
            pytest.param(center, eps, marks=pytest.mark.exhaustive)
            for center in CENTERS
            for eps in (0.01, 0.05, 0.1, 0.2, 0.4)
        ),
    ],
)
def test_answers_are_those_of_a_dense_grid(net, center, eps, tmp_path):
    lower, upper = ([value + sign * eps for value in center] for sign in (-1, 1))
    label = int(answer(LAYERS, center).argmax())
    prop = write_property(tmp_path / "p.vnnlib", lower, upper, others_win(label), 3)
    outputs = np.array([answer(LAYERS, x) for x in grid(lower, upper)])
    lead = outputs[:, [label]] - np.delete(outputs, label, 1)
    verdict = verify_property(net, prop, seconds=30)
    if lead.min() < -1e-3:
        assert verdict.answer == "sat"
    if verdict.answer == "unsat":
        assert lead.min() > 0
    if lead.min() > 0.02:
        assert verdict.answer == "unsat"
    assert (verdict.counterexample is not None) is (verdict.answer == "sat")


def test_a_counterexample_is_in_the_box_and_violates_in_every_runtime_as_it_is_written(net, tmp_path):
    lower, upper = [0.1, -0.3], [0.1 + 1 / 3, 0.4]
    label = int(answer(LAYERS, upper).argmin())
    prop = write_property(tmp_path / "p.vnnlib", lower, upper, others_win(label), 3)
    verdict = verify_property(net, prop)
    assert verdict.answer == "sat"
    (tmp_path / "out.txt").write_text(result_text(verdict))
    lines = (tmp_path / "out.txt").read_text().splitlines()
    assert lines[0] == "sat"
    assert [line.split()[0].strip("(") for line in lines[1:]] == ["X_0", "X_1", "Y_0", "Y_1", "Y_2"]
    found = read_result(tmp_path / "out.txt")
    x = np.array([[float(found.inputs[at]) for at in range(2)]])
    assert np.array_equal(x.astype(np.float32).astype(float), x)
    assert ((np.array(lower) <= x) & (x <= np.array(upper))).all()
    session = onnxruntime.InferenceSession(str(net), providers=["CPUExecutionProvider"])
    y = session.run(None, {"x": x.astype(np.float32)})[0][0]
    assert [float(found.outputs[at]) for at in range(3)] == [float(value) for value in y]
    assert max(np.delete(y, label)) > y[label]


def test_all_rows_of_a_case_have_to_hold_and_one_case_is_enough(net, tmp_path):
    """Bounds of single outputs by the grid; rows in conflict are refuted, one of two cases suffices."""
    lower, upper = [-0.5, -0.5], [0.5, 0.5]
    outputs = np.array([answer(LAYERS, x) for x in grid(lower, upper)])
    least, most = outputs.min(0) - 0.1, outputs.max(0) + 0.1
    middle = float(np.median(outputs[:, 0]))
    texts = {
        f"(assert (and (<= Y_0 {middle}) (>= Y_1 {most[1]})))": "unsat",
        f"(assert (or (and (<= Y_0 {middle}) (>= Y_1 {most[1]})) (<= Y_0 {middle})))": "sat",
        f"(assert (or (>= Y_0 {most[0]}) (and (<= Y_2 {least[2]}) (<= Y_0 {middle}))))": "unsat",
        # asserts behind an or join each case
        f"(assert (or (<= Y_0 {middle}) (>= Y_0 {middle})))(assert (>= Y_1 {most[1]}))": "unsat",
        # inputs and outputs in one row: x0 - 10 y0 over its largest value
        f"(assert (<= (- (* 10 Y_0) X_0) {10 * least[0] - 0.5}))": "unsat",
        f"(assert (<= (- (* 10 Y_0) X_0) {10 * middle + 0.5}))": "sat",
        "(assert (and (<= X_0 -0.6) (<= Y_0 100.0)))": "unsat",
        "(assert (<= X_0 0.0))": "sat",
    }
    for text, expected in texts.items():
        found = verify_property(net, write_property(tmp_path / "p.vnnlib", lower, upper, text, 3), seconds=30)
        assert (text, found.answer) == (text, expected)


def test_outputs_that_only_touch_are_neither_proven_nor_a_counterexample(tmp_path):
    """y = relu(x): y <= 0 is touched over [-1, 0]; y <= -1e-6 is excluded, y <= 1e-6 is met."""
    net = write_net(tmp_path / "net.onnx", [([[1.0]], [0.0]), ([[1.0]], [0.0])], (1,))
    for bound, expected in (("0.0", "unknown"), ("-0.000001", "unsat"), ("0.000001", "sat")):
        prop = write_property(tmp_path / "p.vnnlib", ["-1.0"], ["0.0"], f"(assert (<= Y_0 {bound}))", 1)
        assert verify_property(net, prop, seconds=0.2).answer == expected


def test_what_only_rounding_decides_is_unknown(tmp_path):
    """16777216 x + y - 16777216 x is y, which float32 rounds away: a violation by less than that is none."""
    layers = [([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [0.0] * 3), ([[16777216.0, -16777216.0, 1.0]], [0.0])]
    net = write_net(tmp_path / "net.onnx", layers, (2,))
    text = "(assert (<= Y_0 0.4))"
    prop = write_property(tmp_path / "p.vnnlib", [0.9, 0.5], [1.0, 0.6], text, 1)
    assert verify_property(net, prop, seconds=0.2).answer == "unknown"
    answers = [answer(layers, x)[0] for x in grid([0.9, 0.5], [1.0, 0.6], 11)]
    assert min(answers) > 0.45


def test_a_box_without_a_number_of_float32_has_no_counterexample_and_may_be_proven(tmp_path):
    net = write_net(tmp_path / "net.onnx", [([[1.0]], [0.0])], (1,))
    for text, expected in (("(assert (<= Y_0 1.0))", "unknown"), ("(assert (<= Y_0 0.0999))", "unsat")):
        prop = write_property(tmp_path / "p.vnnlib", ["0.1"], ["0.1"], text, 1)
        verdict = verify_property(net, prop, seconds=0.2)
        assert verdict.answer == expected
    prop = write_property(tmp_path / "p.vnnlib", ["0.1"], ["0.1"], "(assert (<= Y_0 1.0))", 1)
    assert (
        "no number of torch.float32 lies between the ends of X_0"
        in verify_property(net, prop, seconds=0.2).how
    )


def test_the_number_next_to_the_box_is_covered_by_a_proof(tmp_path):
    """0.1 lies between two float32 numbers: an input given as 0.1 runs as the upper one, 0.10000000149."""
    net = write_net(tmp_path / "net.onnx", [([[1.0]], [0.0])], (1,))
    text = "(assert (>= Y_0 0.100000001))"
    prop = write_property(tmp_path / "p.vnnlib", ["0.0"], ["0.1"], text, 1)
    assert verify_property(net, prop, seconds=0.3).answer == "unknown"


def test_inputs_are_in_c_order(tmp_path):
    """A picture of two channels: X_4 is the first pixel of the second channel."""
    weight = np.zeros((1, 8))
    weight[0, 4] = 1.0
    net = write_net(tmp_path / "net.onnx", [(weight, [0.0])], (2, 2, 2))
    for at, expected in ((4, "sat"), (5, "unsat")):
        lower, upper = [0.0] * 8, [0.1] * 8
        upper[at] = 1.0
        prop = write_property(tmp_path / "p.vnnlib", lower, upper, "(assert (>= Y_0 0.5))", 1)
        assert verify_property(net, prop, seconds=5).answer == expected


def test_a_property_of_other_dimensions_is_refused(net, tmp_path):
    (tmp_path / "p.vnnlib").write_text(declared(3, 3) + box([0] * 3, [1] * 3) + "(assert (<= Y_0 0))")
    with pytest.raises(
        DataError, match=r"is about 3 inputs and 3 outputs; expected 2 and 3, those of net\.onnx"
    ):
        verify_property(net, tmp_path / "p.vnnlib")
    with pytest.raises(SettingError, match="seconds = 0"):
        verify_property(net, tmp_path / "p.vnnlib", seconds=0)


def test_a_net_without_bounds_is_attacked_and_never_proven(tmp_path):
    net = write_net(tmp_path / "net.onnx", LAYERS, (2,), end="Softmax")
    prop = write_property(tmp_path / "p.vnnlib", [-1, -1], [1, 1], "(assert (<= Y_0 -1.0))", 3)
    verdict = verify_property(net, prop, seconds=0.2)
    assert verdict.answer == "unknown"
    assert "softmax" in verdict.how.lower()
    prop = write_property(tmp_path / "p.vnnlib", [-1, -1], [1, 1], "(assert (<= Y_0 1.5))", 3)
    assert verify_property(net, prop, seconds=5).answer == "sat"


def test_a_smooth_net_is_decided_by_parts(tmp_path):
    net = write_net(tmp_path / "net.onnx", LAYERS, (2,), end="Tanh")
    lower, upper = [-0.4, -0.4], [0.4, 0.4]
    outputs = np.tanh([answer(LAYERS, x) for x in grid(lower, upper)])
    for shift, expected in ((-0.05, "unsat"), (0.05, "sat")):
        text = f"(assert (<= Y_1 {outputs[:, 1].min() + shift}))"
        prop = write_property(tmp_path / "p.vnnlib", lower, upper, text, 3)
        assert verify_property(net, prop, seconds=60).answer == expected


def test_a_property_without_a_case_holds(net, tmp_path):
    prop = write_property(tmp_path / "p.vnnlib", [0, 0], [1, 1], "(assert (<= X_0 -1))", 3)
    verdict = verify_property(net, prop)
    assert (verdict.answer, verdict.how) == ("unsat", "no input can be in any of its cases")


def margins(instance):
    """Lower bounds of all rows over the first box."""
    prover = Prover.of(instance.net, instance.net.input_shape, instance.dtype)
    rows = all_rows(instance.wanted)[0]
    lower, upper = outward_box(instance.wanted.violations[0], instance.dtype)
    return prover.lower(lower, upper, rows)


@pytest.mark.parametrize("seed", range(4))
def test_bounds_of_rows_lie_below_every_point_and_are_tight_for_a_point(seed, tmp_path):
    layers, draw = random_layers((2, 6, 6, 2), seed), np.random.default_rng(seed)
    net = write_net(tmp_path / "net.onnx", layers, (2,))
    c, a, b = draw.normal(size=2), draw.normal(size=2), draw.normal()
    text = f"(assert (<= (+ (* {c[0]} Y_0) (* {c[1]} Y_1) (* {a[0]} X_0) (* {a[1]} X_1)) {b}))"
    for lower, upper in (([-1.0, -0.5], [0.5, 1.0]), ([0.25, 0.5], [0.25, 0.5])):
        instance = Instance.read(net, write_property(tmp_path / "p.vnnlib", lower, upper, text, 2))
        values = [c @ answer(layers, x) + a @ x - b for x in grid(lower, upper, 31)]
        found = float(margins(instance)[0])
        assert found <= min(values)
        if lower == upper:
            assert found >= min(values) - 1e-4


def test_a_proof_that_does_not_charge_rounding_would_be_false(monkeypatch, tmp_path):
    """A sum whose rounding alone violates: proven without the charge, and not with it."""
    layers = [([[1.0], [1.0]], [16777216.0, 0.0]), ([[1.0, 0.0]], [-16777216.0])]
    net = write_net(tmp_path / "net.onnx", layers, (1,))
    # (x + 2^24) - 2^24 for x = 1 rounds to 0, and never lies below 0.9 in exact arithmetic
    prop = write_property(tmp_path / "p.vnnlib", ["0.95"], ["1.0"], "(assert (<= Y_0 0.9))", 1)
    assert float(margins(Instance.read(net, prop))[0]) < 0
    session = onnxruntime.InferenceSession(str(net), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.array([[1.0]], np.float32)})[0][0, 0] == 0.0
    monkeypatch.setattr(prover_module, "rounding_model", lambda dtype: NO_ROUNDING)
    monkeypatch.setattr(prover_module, "cast_input", lambda interval, rounding: interval)
    monkeypatch.setattr("quintain.certify.interval.graph.require_inside_bounds", lambda *given: None)
    assert float(margins(Instance.read(net, prop))[0]) > 0


def test_bounds_that_exclude_what_an_operation_returns_are_an_alarm(net, monkeypatch, tmp_path):
    prop = write_property(tmp_path / "p.vnnlib", [-1, -1], [1, 1], "(assert (<= Y_0 -100))", 3)

    def shrunk(interval, rounding):
        found = cast_input(interval, rounding)
        return prover_module.Interval(found.center, found.radius * 0.5, operation=found.operation)

    monkeypatch.setattr(prover_module, "cast_input", shrunk)
    with pytest.raises(ContradictionError, match="bounds exclude"):
        verify_property(net, prop)


def test_numbers_that_are_not_finite_prove_nothing(tmp_path):
    net = write_net(tmp_path / "net.onnx", [([[1e38]], [0.0]), ([[1e38]], [0.0])], (1,))
    prop = write_property(tmp_path / "p.vnnlib", [1], [2], "(assert (<= Y_0 -5))", 1)
    assert verify_property(net, prop, seconds=0.3).answer == "unknown"


def test_the_search_only_reports_what_the_checker_accepts(net, monkeypatch, tmp_path):
    prop = write_property(tmp_path / "p.vnnlib", [0, 0], [1, 1], "(assert (<= Y_0 100))", 3)
    instance = Instance.read(net, prop)
    search = ViolationSearch(instance.checker, instance.dtype)
    assert search.run(float("inf")) is not None
    monkeypatch.setattr(type(instance.checker), "as_counterexample", lambda self, x: None)
    assert search.run(float("inf")) is None


def test_rows_beyond_float64_are_refused(net, tmp_path):
    prop = write_property(tmp_path / "p.vnnlib", [0, 0], [1, 1], "(assert (<= Y_0 1e400))", 3)
    with pytest.raises(DataError, match="beyond float64"):
        all_rows(read_property(prop))
    assert Rows.of((), 2, 3).bounds.shape == torch.Size([0])


def wide_net(path, seed):
    """Thirty inputs, more than are halved, of which the box leaves some ReLUs without a known sign."""
    layers = random_layers((30, 12, 12, 3), seed)
    return layers, write_net(path, layers, (30,))


def test_a_net_of_many_inputs_is_proven_by_parts_of_its_signs(tmp_path):
    """What linear bounds over the box miss by a little is proven by branch and bound."""
    layers, net = wide_net(tmp_path / "net.onnx", seed=1)
    lower, upper = [-0.08] * 30, [0.12] * 30
    draw = np.random.default_rng(0)
    least = min(answer(layers, draw.choice([-0.08, 0.12], 30))[0] for _ in range(3000))
    text = "(assert (or (and (<= Y_0 {0})) (and (<= Y_1 -100) (<= Y_0 {0}))))"
    prop = write_property(tmp_path / "p.vnnlib", lower, upper, text.format(-100), 3)
    root = float(margins(Instance.read(net, prop))[0]) - 100
    assert root < least
    # halfway between what is met and what linear bounds prove
    prop = write_property(
        tmp_path / "p.vnnlib", lower, upper, text.format(0.4 * root + 0.6 * least - 0.05), 3
    )
    verdict = verify_property(net, prop, seconds=60)
    assert (verdict.answer, verdict.how) == ("unsat", "linear bounds over parts of the box")
    prop = write_property(tmp_path / "p.vnnlib", lower, upper, text.format(least + 1e-3), 3)
    assert verify_property(net, prop, seconds=60).answer == "sat"


def test_bounds_that_overflow_refute_nothing(tmp_path):
    """Y_0 is 1e7 to -5e7; its bound times 1e300 is infinite after the last bias, and would be below 0."""
    ones = np.ones((1, 30))
    net = write_net(tmp_path / "net.onnx", [(ones, [1.7e8]), ([[-1.0]], [1.8e8])], (30,))
    text = "(assert (<= (* 1e300 Y_0) 0))"
    instance = Instance.read(net, write_property(tmp_path / "p.vnnlib", [0] * 30, [2e6] * 30, text, 1))
    prover = Prover.of(instance.net, (30,), instance.dtype)
    boxes = whole_boxes(instance.wanted.violations, instance.dtype)
    left = split_signs(prover, boxes, all_rows(instance.wanted), math.inf, find_violation=lambda *_: None)
    assert len(left) == 1


def test_of_several_rows_one_is_refuted_everywhere(tmp_path):
    """Neither row is refuted over the whole box by linear bounds; the second one is over every part."""
    _, net = wide_net(tmp_path / "net.onnx", seed=1)
    lower, upper = [-0.08] * 30, [0.12] * 30
    prop = write_property(tmp_path / "p.vnnlib", lower, upper, "(assert (<= Y_0 -100))", 3)
    root = float(margins(Instance.read(net, prop))[0]) - 100
    text = f"(assert (and (<= Y_1 100) (<= Y_0 {root + 0.02})))"
    prop = write_property(tmp_path / "p.vnnlib", lower, upper, text, 3)
    assert verify_property(net, prop, seconds=60).answer == "unsat"


@pytest.mark.parametrize("seed", range(3))
def test_slopes_that_are_searched_for_narrow_what_relus_are_given_and_hold_every_sample(seed, tmp_path):
    layers, net = wide_net(tmp_path / "net.onnx", seed)
    lower, upper = [-0.2] * 30, [0.25] * 30
    prop = write_property(tmp_path / "p.vnnlib", lower, upper, "(assert (<= Y_0 0))", 3)
    instance = Instance.read(net, prop)
    prover = Prover.of(instance.net, instance.net.input_shape, instance.dtype)
    ends = outward_box(instance.wanted.violations[0], instance.dtype)
    rows = all_rows(instance.wanted)[0]
    draw = np.random.default_rng(seed)
    samples = [draw.choice([-0.2, 0.25], 30) for _ in range(300)]
    found = []
    for until in (-np.inf, np.inf):
        with torch.no_grad():
            backward, output, _ = prover.region_bounds(*ends, rows, until=until)
            found.append(float(backward.lower(output, torch.ones(1, 1, dtype=torch.float64))))
        relus = [one for one in backward.recording.operations if one.lines is not None]
        widths = [float((one.lines.upper_intercept).sum()) for one in relus]
        found.append(widths[-1])
    assert found[2] <= min(answer(layers, x)[0] for x in samples)
    assert found[0] <= found[2]
    assert found[3] < found[1]


@pytest.mark.parametrize(("seconds", "answered"), [(1000.0, "unsat"), (2.0, "unknown")])
def test_bounds_of_many_boxes_end_with_the_time(net, tmp_path, seconds, answered, monkeypatch):
    """A clock that goes on by .1 at each look at it: no bound is begun after its end."""
    ticks, bounded = itertools.count(), []
    whole = Prover.lower
    monkeypatch.setattr(Prover, "lower", lambda *given: (bounded.append(1), whole(*given))[1])
    boxes = " ".join(
        f"(and {box([at / 300, 0.0], [at / 300 + 0.001, 1.0])} (>= Y_0 1e6))" for at in range(300)
    )
    boxes = boxes.replace("(assert", "(and")
    (tmp_path / "p.vnnlib").write_text(declared(2, 3) + f"(assert (or {boxes}))")
    verdict = verify_property(net, tmp_path / "p.vnnlib", seconds=seconds, clock=lambda: 0.1 * next(ticks))
    assert verdict.answer == answered
    assert len(bounded) == 300 if answered == "unsat" else 0 < len(bounded) < 30
    if answered == "unknown":
        assert "cases are open, some not bounded for want of time" in verdict.how
