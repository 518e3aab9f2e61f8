"""``certify --property`` and ``referee``: what they print, write and return."""

from pathlib import Path

import pytest

from tests.verify.nets import random_layers, write_net, write_property


@pytest.fixture
def files(tmp_path):
    layers = random_layers((2, 4, 2))
    net = write_net(tmp_path / "net.onnx", layers, (2,))
    safe = write_property(tmp_path / "safe.vnnlib", [0, 0], [1, 1], "(assert (>= Y_0 99))", 2)
    broken = write_property(tmp_path / "broken.vnnlib", [0, 0], [1, 1], "(assert (<= Y_0 99))", 2)
    return net, safe, broken


def test_a_property_is_decided_and_its_result_written(call, files, tmp_path):
    net, safe, broken = files
    out = tmp_path / "out.txt"
    code, told, complaint = call("certify", "--model", net, "--property", safe, "--result", out)
    assert (code, out.read_text()) == (0, "unsat\n"), complaint
    assert told.startswith("unsat\nby linear bounds; ")
    code, told, _ = call("certify", "--model", net, "--property", broken, "--result", out)
    assert code == 1
    assert out.read_text().startswith("sat\n((X_0 0.5)\n (X_1 0.5)\n (Y_0 ")
    assert "its counterexample holds in onnxruntime, torch and float64" in told
    # what was written is confirmed
    words = ("referee", "--model", net, "--property", broken, "--result", out)
    assert call(*words)[0] == 0
    code, told, _ = call(
        "referee", "--model", net, "--property", broken, "--result", "unsat", "--witness", tmp_path / "w.txt"
    )
    assert code == 1
    assert told.startswith("REFUTED: unsat, a counterexample was found by attack")
    assert (tmp_path / "w.txt").read_text() == out.read_text()


def test_a_folder_is_ruled_on_with_totals(call, files, tmp_path):
    (tmp_path / "instances.csv").write_text(
        "model,property,result\nnet.onnx,safe.vnnlib,unsat\nnet.onnx,broken.vnnlib,unsat\n"
    )
    code, told, complaint = call("referee", tmp_path)
    assert code == 1, complaint
    assert "CONFIRMED  unsat    net.onnx  safe.vnnlib  " in told
    assert "2 instances: 1 CONFIRMED, 1 REFUTED, 0 UNDECIDED" in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("certify", "--property", "p.vnnlib"),
            "got --property with --model xray-cnn; expected --model net.onnx",
        ),
        (
            ("certify", "--model", "n.onnx", "--property", "p", "--threat", "linf:0.1"),
            "with a threat or a certifier",
        ),
        (("certify", "--result", "out.txt"), "without --property"),
        (("certify", "--model", "none.onnx", "--property", "p.vnnlib"), "there is no file p.vnnlib"),
        (("referee", "--model", "n.onnx"), "expected a folder of instances, or --model net.onnx"),
        (("referee", "folder", "--model", "n.onnx"), "expected a folder of instances, or --model net.onnx"),
    ],
)
def test_what_does_not_go_together_is_refused(call, words, said):
    code, _, complaint = call(*words)
    assert code == 2
    assert said in " ".join(complaint.split())


def test_an_answer_of_before_does_not_stand_for_a_run_that_fails(call, files, tmp_path):
    net, safe, _ = files
    out = tmp_path / "out.txt"
    assert call("certify", "--model", net, "--property", safe, "--result", out)[0] == 0
    other = write_property(tmp_path / "other.vnnlib", [0], [1], "(assert (>= Y_0 99))", 2)
    assert call("certify", "--model", net, "--property", other, "--result", out)[0] == 5
    assert not out.exists()


@pytest.mark.parametrize("taken", ["safe.vnnlib", "net.onnx", "notes.txt"])
def test_no_answer_replaces_another_file(call, files, tmp_path, taken):
    net, safe, _ = files
    (tmp_path / "notes.txt").write_text("sat is a word that these notes begin with")
    before = (tmp_path / taken).read_bytes()
    for words in (
        ("certify", "--model", net, "--property", safe, "--result", tmp_path / taken),
        ("referee", "--model", net, "--property", safe, "--result", "unsat", "--witness", tmp_path / taken),
    ):
        code, _, complaint = call(*words)
        assert code == 2
        assert "give a" in complaint
        assert (tmp_path / taken).read_bytes() == before


def test_an_answer_may_go_to_a_device_which_stays_one(call, files):
    net, safe, _ = files
    assert call("certify", "--model", net, "--property", safe, "--result", "/dev/null")[0] == 0
    assert Path("/dev/null").is_char_device()


def test_a_folder_takes_no_answer(call, files, tmp_path):
    net, safe, _ = files
    code, _, complaint = call("certify", "--model", net, "--property", safe, "--result", tmp_path)
    assert code == 2
    assert "is a folder; give a file" in " ".join(complaint.split())


def test_an_answer_goes_where_a_link_leads(call, files, tmp_path):
    net, safe, broken = files
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "target.txt")
    for prop, begins in ((broken, "sat"), (safe, "unsat")):
        call("certify", "--model", net, "--property", prop, "--result", link)
        assert link.is_symlink()
        assert (tmp_path / "target.txt").read_text().split()[0] == begins
