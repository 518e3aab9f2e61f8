"""Results of other verifiers: false ones handed in, and counterexamples that do not hold."""

import numpy as np
import pytest

from quintain.core.errors import DataError, NotFoundError
from quintain.verify import referee, referee_folder
from quintain.verify.results import read_result
from tests.verify.nets import answer, random_layers, write_net, write_property

pytestmark = pytest.mark.rounding

LAYERS = random_layers((2, 8, 8, 2), seed=5)
LOWER, UPPER = [-0.4, -0.4], [0.4, 0.4]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A net, and three properties: one that holds, one that is violated, one that is only touched."""
    folder = tmp_path_factory.mktemp("instances")
    write_net(folder / "net.onnx", LAYERS, (2,))
    values = [
        answer(LAYERS, (a, b))[0] for a in np.linspace(-0.4, 0.4, 41) for b in np.linspace(-0.4, 0.4, 41)
    ]
    for name, bound in (("safe", max(values) + 0.2), ("violated", float(np.median(values)))):
        write_property(folder / f"{name}.vnnlib", LOWER, UPPER, f"(assert (>= Y_0 {bound}))", 2)
    write_net(folder / "relu.onnx", [([[1.0]], [0.0]), ([[1.0]], [0.0])], (1,))
    write_property(folder / "touched.vnnlib", ["-1.0"], ["0.0"], "(assert (<= Y_0 0.0))", 1)
    return folder


def rule(place, name, result, counterexample=None, *, net="net.onnx", seconds=20):
    """The ruling on a result of a property, given as text."""
    given = result if result in {"sat", "unsat"} else place / "theirs.txt"
    if given != result:
        given.write_text(result)
    beside = None
    if counterexample is not None:
        beside = place / "theirs.counterexample"
        beside.write_text(counterexample)
    return referee(place / net, place / f"{name}.vnnlib", given, beside, seconds=seconds)


def text_of(x, y=(0.0, 0.0)):
    pairs = [
        f"({name}_{at} {value})" for name, values in (("X", x), ("Y", y)) for at, value in enumerate(values)
    ]
    return "(" + "\n".join(pairs) + ")"


def best_input():
    """An input of the box at which the first output is large."""
    points = [(a, b) for a in np.linspace(-0.39, 0.39, 41) for b in np.linspace(-0.39, 0.39, 41)]
    return max(points, key=lambda x: answer(LAYERS, x)[0])


def test_true_results_are_confirmed(place):
    assert rule(place, "safe", "unsat\n").decision == "CONFIRMED"
    ruling = rule(place, "violated", "sat\n" + text_of(best_input()))
    assert ruling.decision == "CONFIRMED"
    assert ruling.reason == "its counterexample holds in onnxruntime, torch and float64"
    assert ruling.counterexample.x == pytest.approx(best_input())


def test_a_false_unsat_is_refuted_with_a_witness(place):
    ruling = rule(place, "violated", "unsat")
    assert ruling.decision == "REFUTED"
    assert ruling.counterexample is not None
    x = ruling.counterexample.x.astype(float)
    assert ((x >= LOWER) & (x <= UPPER)).all()
    bound = float((place / "violated.vnnlib").read_text().rsplit("Y_0", 1)[1].strip(" )\n"))
    assert answer(LAYERS, x)[0] > bound


def test_a_false_sat_is_refuted_by_a_proof(place):
    ruling = rule(place, "safe", "sat\n" + text_of([0.0, 0.0]))
    assert ruling.decision == "REFUTED"
    assert ruling.reason.startswith("its counterexample does not hold: in ")
    assert "its outputs miss the violation by" in ruling.reason
    assert ruling.counterexample is None


@pytest.mark.parametrize("result", ["unsat", "sat\n" + text_of([0.0], [0.0])])
def test_what_is_only_touched_is_undecided(place, result):
    ruling = rule(place, "touched", result, net="relu.onnx", seconds=0.2)
    assert ruling.decision == "UNDECIDED"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (text_of([0.1]), r"it has 1 inputs, expected 2 \(X_1\)"),
        (text_of([0.1, 0.1, 0.1]), r"it has 3 inputs, expected 2 \(X_2\)"),
        (text_of([0.1, "nan"]), "X_1 = 'nan', expected a number"),
        (text_of(["1/3", 0.1]), "X_0 = '1/3', expected a number"),
        (text_of(["1e999999999", 0.1]), "X_0 = '1e999999999', expected a number"),
        ("((X_0 9.0)(X_0 0.1)(X_1 0.1))", "it gives X_0 twice"),
        ("((X_0 0.1)(X_3 0.1))", r"it has 2 inputs, expected 2 \(X_1\)"),
        (text_of([9.0, 0.1]), "X_0 = 9.0 lies outside of its box, -0.4 to 0.4"),
        (text_of(["1e60", 0.1]), "X_0 = inf lies outside of its box"),
        ("", "without a counterexample"),
    ],
)
def test_a_counterexample_that_does_not_hold_is_said_to_be_none(place, text, why):
    """The claim is decided all the same: here it is false."""
    ruling = rule(place, "safe", "sat", text)
    assert ruling.decision == "REFUTED"
    assert __import__("re").search(why, ruling.reason)


def test_a_witness_outside_a_tiny_box_is_none_however_near_it_is(tmp_path):
    """With an absolute tolerance of 1e-4 any input would do: 1e6 x <= -0.5 needs x = -5e-7, but x >= 1e-9."""
    write_net(tmp_path / "net.onnx", [([[1e6]], [0.0])], (1,))
    prop = write_property(tmp_path / "p.vnnlib", ["0.000000001"], ["0.00000001"], "(assert (<= Y_0 -0.5))", 1)
    (tmp_path / "c.txt").write_text(text_of([-6e-7], [-0.6]))
    ruling = referee(tmp_path / "net.onnx", prop, "sat", tmp_path / "c.txt", seconds=5)
    assert ruling.decision == "REFUTED"
    assert "X_0 = -6" in ruling.reason
    assert "outside of its box" in ruling.reason


def test_a_witness_that_leaves_the_box_by_its_rounding_is_moved_into_it(tmp_path):
    """0.1 as written is in the box, and its float32 is not: the next one inside is taken."""
    write_net(tmp_path / "net.onnx", [([[1.0]], [0.0])], (1,))
    prop = write_property(tmp_path / "p.vnnlib", ["0.0"], ["0.1"], "(assert (>= Y_0 0.09))", 1)
    (tmp_path / "c.txt").write_text(text_of(["0.1"], ["0.1"]))
    ruling = referee(tmp_path / "net.onnx", prop, "sat", tmp_path / "c.txt", seconds=5)
    assert ruling.decision == "CONFIRMED"
    assert "the nearest input of the box violates it, in every runtime" in ruling.reason
    assert float(ruling.counterexample.x[0]) < 0.1


def test_a_witness_that_violates_by_rounding_alone_is_none(tmp_path):
    """In float32 (x + 2^24) - 2^24 is 0 for x = 1, and 1 in float64: only rounding violates it."""
    layers = [([[1.0], [1.0]], [16777216.0, 0.0]), ([[1.0, 0.0]], [-16777216.0])]
    write_net(tmp_path / "net.onnx", layers, (1,))
    prop = write_property(tmp_path / "p.vnnlib", ["1.0"], ["1.0"], "(assert (<= Y_0 0.5))", 1)
    (tmp_path / "c.txt").write_text(text_of(["1.0"], ["0.0"]))
    ruling = referee(tmp_path / "net.onnx", prop, "sat", tmp_path / "c.txt", seconds=0.2)
    assert ruling.decision == "UNDECIDED"
    assert "in torch in float64 its outputs miss the violation by 0.5" in ruling.reason


def test_results_that_claim_nothing_are_undecided(place):
    for word in ("unknown", "timeout", "error"):
        ruling = rule(place, "safe", f"{word}\n")
        assert (ruling.decision, ruling.reason) == ("UNDECIDED", "it claims nothing")
    with pytest.raises(DataError, match="begins with 'maybe'; expected unsat"):
        rule(place, "safe", "maybe\n")
    with pytest.raises(DataError, match="begins with 'nothing'"):
        rule(place, "safe", "\n")
    with pytest.raises(NotFoundError, match="expected a result, or one of unsat"):
        referee(place / "net.onnx", place / "safe.vnnlib", place / "none.txt")


def test_a_number_that_is_given_twice_in_the_same_way_is_one(tmp_path):
    (tmp_path / "r.txt").write_text("sat\n((X_0 0.5)(X_0 5e-1))")
    assert read_result(tmp_path / "r.txt").problem == ""
    (tmp_path / "r.txt").write_text("sat\n((X_0 0.5)(X_0 0.6))")
    assert read_result(tmp_path / "r.txt").problem == "it gives X_0 twice, as two numbers"


def test_older_words_and_one_line_are_read(tmp_path):
    (tmp_path / "r.txt").write_text("violated ((X_0 1e-3)(X_1 -.5) ( Y_0 2 ))")
    found = read_result(tmp_path / "r.txt")
    assert found.answer == "sat"
    assert {at: float(value) for at, value in found.inputs.items()} == {0: 0.001, 1: -0.5}
    assert {at: float(value) for at, value in found.outputs.items()} == {0: 2.0}
    assert read_result("holds").answer == "unsat"


def test_a_folder_gives_a_line_for_each_instance(place):
    (place / "wrong.txt").write_text("sat\n" + text_of([9.0, 0.0]))
    (place / "instances.csv").write_text(
        "model,property,result\n"
        "net.onnx,safe.vnnlib,unsat\n"
        "net.onnx,violated.vnnlib,unsat\n"
        "net.onnx,safe.vnnlib,wrong.txt\n"
        "none.onnx,safe.vnnlib,unsat\n"
        "net.onnx,safe.vnnlib\n"
    )
    found = referee_folder(place, seconds=20)
    assert [one.ruling.decision for one in found] == ["CONFIRMED", "REFUTED", "REFUTED", *["UNDECIDED"] * 2]
    assert "there is no file" in found[3].ruling.reason
    with pytest.raises(NotFoundError, match=r"instances\.csv; expected a table with model, property, result"):
        referee_folder(place / "none")
    (place / "instances.csv").write_text("model,result\nnet.onnx,unsat\n")
    with pytest.raises(DataError, match="no column property"):
        referee_folder(place)


def test_a_table_of_a_spreadsheet_is_read_and_one_that_is_not_utf8_is_refused(place):
    lines = "model,property,result\nnet.onnx,safe.vnnlib,unsat\n"
    (place / "instances.csv").write_text(lines, encoding="utf-8-sig")
    assert [one.ruling.decision for one in referee_folder(place, seconds=20)] == ["CONFIRMED"]
    (place / "instances.csv").write_bytes(
        lines.encode() + "n\u00e4t.onnx,safe.vnnlib,unsat\n".encode("latin-1")
    )
    with pytest.raises(DataError, match=r"instances\.csv is no text in UTF-8"):
        referee_folder(place)
