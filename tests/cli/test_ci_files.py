"""What CI systems read of a run: every command of a run writes it, however it ends."""

import json
import os
import shutil
import tempfile
from contextvars import ContextVar
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from quintain.cli import main
from quintain.cli.ci_files import OPTIONS
from quintain.cli.commands import COMMANDS
from quintain.core.errors import ExitCode
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps import certify
from quintain.results.codec import decode
from quintain.results.json_schema import SCHEMA_FILE
from quintain.results.robustness_records import CertifyResult
from tests.report.support.claims import accuracy
from tests.schemas import check_junit, check_sarif

NET = """
import torch
from torch import nn

print("a line from the user's own file")


def make():
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with torch.no_grad():
        net[1].weight[0], net[1].weight[1] = -1, 1
        net[1].bias[0], net[1].bias[1] = 7.2, -7.2
    return net


def broken():
    return nn.Linear(3, 5)
"""

GOLDEN = Path(__file__).parents[1] / "results" / "golden"

RUN = "from quintain.cli.main import run; run()"
PASSES, FAILS = "robust_accuracy(linf:0.02) >= 0.5", "robust_accuracy(linf:0.5) >= 0.9"
FAR = "epsilon(delta=1e-5) <= 3"
FILES = ("--junit", "ci/junit.xml", "--sarif", "ci/q.sarif", "--summary", "ci/summary.md")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A repository with a net, data, and requirements in a parent folder."""
    root = tmp_path_factory.mktemp("project")
    (root / ".git").mkdir()
    work = root / "model"
    work.mkdir()
    labels = np.arange(100) % 2
    noise = np.random.default_rng(0).uniform(0, 0.4, (100, 4, 4))
    images = (noise + 0.5 * labels[:, None, None]).astype(np.float32)
    arrays = {
        f"{part}_{what}": value
        for part in ("train", "test")
        for what, value in (("images", images), ("labels", labels))
    }
    np.savez(work / "d.npz", **arrays)
    (work / "net.py").write_text(NET)
    (root / "run.py").write_text(RUN)
    (root / "pyproject.toml").write_text(f'[tool.quintain]\nrequire = [\n    "{FAILS}",\n]\n')
    return work


@pytest.fixture
def quintain(ready, project):
    """Run the command line as a process in the folder of the model; gives exit code and both streams."""
    return lambda *words, home=project: ready(project.parent / "run.py", *words, home=home)


def attack(*words, out, model="net.py:make", eps="0.5"):
    return ("attack", "--model", model, "--data", "d.npz", "--threat", f"linf:{eps}", "--attack", "fgsm",
            "--out", out, *words)  # fmt: skip


def outcomes(path):
    check_junit(path.read_text())
    cases = ElementTree.parse(path).iter("testcase")
    return {
        (case.get("classname"), case.get("name")): [one.tag for one in case if one.tag != "system-out"]
        for case in cases
    }


def results(path):
    check_sarif(path.read_text())
    (run,) = json.loads(path.read_text())["runs"]
    return run["results"], run["invocations"][0]


def test_a_gate_that_fails_is_told_to_every_reader(project, quintain):
    code, out, err = quintain(*attack(*FILES, "--json", "-", out="runs/fails"))
    assert code == ExitCode.FAILED, err
    record = decode(out.encode())
    jsonschema.validate(json.loads(out), json.loads(quintain("schema").out))
    assert record.verdict.outcome == "FAILED"
    assert record.verdict.exit_code == code
    assert out.encode() == (project / "runs/fails/result.json").read_bytes()
    assert "a line from the user's own file" in err
    assert "robust accuracy of model" in err
    assert outcomes(project / "ci/junit.xml") == {
        ("quintain.run", "quintain attack"): [],
        ("quintain.gate.model", FAILS): ["failure"],
    }
    (found,), invocation = results(project / "ci/q.sarif")
    place = found["locations"][0]["physicalLocation"]
    assert (found["level"], place["artifactLocation"]["uri"]) == ("error", "pyproject.toml")
    assert place["region"]["startLine"] == 3
    assert (invocation["exitCode"], invocation["executionSuccessful"]) == (1, True)
    assert (project / "ci/summary.md").read_text().startswith("## quintain attack: FAILED")


def test_a_finished_run_is_converted_to_the_same_files(project, quintain):
    code, _, err = quintain(*attack(*FILES, out="runs/whole"))
    assert code == ExitCode.FAILED, err
    again = ("--junit", "again/junit.xml", "--sarif", "again/q.sarif", "--summary", "again/summary.md")
    code, out, err = quintain("report", "runs/whole", *again, "--json", "-")
    assert code == ExitCode.OK, err
    assert decode(out.encode()).verdict.outcome == "FAILED"
    assert "report.html" in err
    for name in ("junit.xml", "q.sarif"):
        assert (project / "again" / name).read_text() == (project / "ci" / name).read_text()
    added = (project / "again/summary.md").read_text()
    assert (project / "ci/summary.md").read_text().endswith(added)


def test_a_summary_is_added_to_what_is_there(project, quintain):
    path = project / "steps.md"
    path.write_text("before\n")
    code, _, err = quintain(*attack("--summary", "steps.md", out="runs/added"))
    assert code == ExitCode.FAILED, err
    assert path.read_text().startswith("before\n## quintain attack: FAILED")


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """Give a command line that is wrong, as the process does that has read no other."""

    def give(*words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(main, "_BEGUN", ContextVar("begun", default=False))
        monkeypatch.setattr("sys.argv", ["quintain", *words])
        assert main._exit_code_of_app() == ExitCode.USAGE

    return give


def test_a_message_of_the_models_making_has_no_terminal_codes(call, tmp_path):
    (tmp_path / "red.py").write_text("def make():\n    raise ValueError('\x1b[31mred\x1b[2J')\n")
    code, _, err = call("check", "--model", "red.py:make", "--data", "xrays")
    assert code == ExitCode.EXECUTION, err
    assert "red" in err
    assert "\x1b" not in err


INPUTS = ("p.vnnlib", "theirs.txt", "instances.csv", "s.npz", "package.json")


@pytest.mark.parametrize("words", [(), ("--limt", "3")])
@pytest.mark.parametrize("name", INPUTS)
def test_a_summary_spoils_no_file_of_another_kind(call, refused, tmp_path, name, words):
    """Also where the command line is refused, of which it is not known what it reads."""
    (tmp_path / name).write_bytes(b'{"name": "Quintain", "before": "\x00"}\n')
    refused("attack", "--weights", "nowhere", "--summary", name, *words)
    assert (tmp_path / name).read_bytes() == b'{"name": "Quintain", "before": "\x00"}\n'
    code, _, _ = call("attack", "--weights", "nowhere", "--sarif", name)
    assert code == ExitCode.USAGE
    assert (tmp_path / name).read_bytes() == b'{"name": "Quintain", "before": "\x00"}\n'


def test_a_summary_is_added_to_the_file_that_github_names(call, tmp_path, monkeypatch):
    path = tmp_path / "step_summary_1"
    path.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    code, _, _ = call("attack", "--weights", "nowhere", "--summary", "step_summary_1")
    assert code == ExitCode.USAGE
    assert path.read_text().startswith("before\n## quintain attack: USAGE")


def test_a_summary_is_added_to_a_file_that_is_open_already(call, tmp_path):
    (tmp_path / "log.txt").write_text("before\n")
    with (tmp_path / "log.txt").open("a") as file:
        assert (
            call("attack", "--weights", "nowhere", "--summary", f"/dev/fd/{file.fileno()}")[0]
            == ExitCode.USAGE
        )
    assert (tmp_path / "log.txt").read_text().startswith("before\n## quintain attack: USAGE")


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no file system in memory")
def test_a_file_in_memory_is_no_open_one(call):
    with tempfile.NamedTemporaryFile("w", dir="/dev/shm") as file:
        file.write("before")
        file.flush()
        assert call("attack", "--weights", "nowhere", "--summary", file.name)[0] == ExitCode.USAGE
        assert Path(file.name).read_text() == "before"


def test_a_script_that_writes_summaries_is_none(call, tmp_path):
    text = 'run: echo "## quintain results" >> x\n'
    (tmp_path / "ci.yml").write_text(text)
    assert call("attack", "--weights", "nowhere", "--summary", "ci.yml")[0] == ExitCode.USAGE
    assert (tmp_path / "ci.yml").read_text() == text
    (tmp_path / "log.txt").write_text("before\n## quintain attack: OK\n")
    call("attack", "--weights", "nowhere", "--summary", "log.txt")
    assert "## quintain attack: USAGE" in (tmp_path / "log.txt").read_text()


def test_of_an_option_that_is_given_twice_the_last_one_counts(refused, tmp_path):
    refused("attack", "--junit", "a.xml", "--junit=b.xml", "--limt", "3")
    assert [path.name for path in tmp_path.iterdir()] == ["b.xml"]


def test_a_pipe_gets_the_file_and_is_not_waited_for(call, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    code, _, err = call("attack", "--weights", "nowhere", "--junit", "pipe")
    assert code == ExitCode.EXECUTION
    assert "cannot write pipe: No such device or address" in err
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    for name in ("pipe", f"/dev/fd/{reader}"):
        assert call("attack", "--weights", "nowhere", "--junit", name)[0] == ExitCode.USAGE
        assert os.read(reader, 1 << 16).startswith(b"<?xml")
    os.close(reader)


def test_an_undecided_requirement_is_an_error_or_skipped(project, quintain):
    inner = project / "inner"
    shutil.copytree(project, inner, ignore=shutil.ignore_patterns("runs", "ci"))
    (inner / "pyproject.toml").write_text("[tool.quintain]\nrequire = []\n")
    words = (*FILES, "--require", PASSES)
    code, _, err = quintain(*attack(*words, out="runs/open", eps="0.02"), home=inner)
    assert code == ExitCode.UNDECIDED, err
    assert outcomes(inner / "ci/junit.xml")["quintain.gate.model", PASSES] == ["error"]
    assert {one["level"] for one in results(inner / "ci/q.sarif")[0]} == {"warning"}
    code, _, err = quintain(*attack(*words, "--undecided", "warn", out="runs/warned", eps="0.02"), home=inner)
    assert code == ExitCode.OK, err
    assert outcomes(inner / "ci/junit.xml")["quintain.gate.model", PASSES] == ["skipped"]
    assert {one["level"] for one in results(inner / "ci/q.sarif")[0]} == {"warning"}


def test_a_run_that_fails_is_an_error_and_leaves_no_requirement_out(project, quintain):
    code, out, err = quintain(*attack(*FILES, "--json", "-", out="runs/none", model="net.py:broken"))
    assert code == ExitCode.EXECUTION, err
    assert out == ""
    found = outcomes(project / "ci/junit.xml")
    assert found == {("quintain.run", "quintain attack"): ["error"], ("quintain.gate", FAILS): ["error"]}
    (left,), invocation = results(project / "ci/q.sarif")
    assert left["level"] == "warning"
    assert (invocation["exitCode"], invocation["executionSuccessful"]) == (5, False)
    message = invocation["toolExecutionNotifications"][0]["message"]["text"]
    assert message in err.replace("\n", " ")


PRIVATE = ("--steps", 2, "--batch-size", 8)


@pytest.mark.parametrize(
    ("verb", "options", "sure", "far"),
    [
        ("certify", ("--threat", "linf:0.02"), "robust_accuracy(linf:0.02) >= 0", FAR),
        ("evaluate", ("--threat", "linf:0.02"), "robust_accuracy(linf:0.02) >= 0.5", FAR),
        ("harden", ("--threat", "linf:0.02", "--epochs", 1), "robust_accuracy(linf:0.02) >= 0", FAR),
        ("privatize", PRIVATE, "epsilon(delta=1e-5) <= 1000", "robust_accuracy(linf:0.5) >= 0.9"),
        ("audit", (*PRIVATE, "--canaries", 20), "epsilon(delta=1e-5) <= 1000", "clean_accuracy >= 0.9"),
        ("federate", ("--sites", 3, "--rounds", 1, "--epochs", 1), "", FAR),
        ("leak", ("--steps", 1), "", ""),
        ("check", (), "", ""),
    ],
)
def test_every_command_of_a_run_writes_valid_files(project, quintain, verb, options, sure, far):
    home = project.parent / "free"
    if not home.exists():
        shutil.copytree(project, home, ignore=shutil.ignore_patterns("runs", "ci", "inner"))
        (home / "pyproject.toml").write_text("[tool.quintain]\nrequire = []\n")
    words = [verb, "--model", "net.py:make", "--data", "d.npz", "--out", f"runs/{verb}", *options]
    required = [word for one in filter(None, (sure, far)) for word in ("--require", one)]
    code, out, err = quintain(*words, *required, *FILES, "--json", "-", home=home)
    assert code == (ExitCode.UNDECIDED if required else ExitCode.OK), err
    jsonschema.validate(json.loads(out), json.loads(SCHEMA_FILE.read_text()))
    assert json.loads(out) == json.loads((home / f"runs/{verb}/result.json").read_bytes())
    found = {name: tags for (_, name), tags in outcomes(home / "ci/junit.xml").items()}
    wanted = {f"quintain {verb}": [], **({far: ["error"]} if far else {}), **({sure: []} if sure else {})}
    assert found == wanted
    levels = [(one["properties"]["requirement"], one["level"]) for one in results(home / "ci/q.sarif")[0]]
    assert levels == ([(far, "warning")] if required else [])
    assert f"## quintain {verb}: " in (home / "ci/summary.md").read_text()


def test_an_alarm_is_an_error_and_its_record_is_written(call, weights, small, monkeypatch, tmp_path):
    claim = accuracy("net:linf:4/255", "Robust accuracy, net", 480, 461)
    output = StepOutput(CertifyResult(()), (claim,))
    monkeypatch.setattr(certify, "run_certify", lambda *_, **__: output)
    words = ("--data", small, "--weights", weights, "--require", "robust_accuracy(linf:4/255) >= 0.5")
    code, out, err = call("certify", *words, "--threat", "linf:4/255", *FILES, "--json", "-")
    assert code == ExitCode.ALARM
    assert "SOUNDNESS ALARM" in err
    assert json.loads(out)["verdict"]["outcome"] == "ALARM"
    assert outcomes(tmp_path / "ci/junit.xml")["quintain.alarm", "net:linf:4/255"] == ["error"]
    found, invocation = results(tmp_path / "ci/q.sarif")
    assert ("contradiction", "error") in {(one["ruleId"], one["level"]) for one in found}
    assert invocation["exitCode"] == ExitCode.ALARM


PROPERTY = """
(declare-const X_0 Real)
(declare-const Y_0 Real)
(assert (>= X_0 0.0))
(assert (<= X_0 1.0))
(assert (>= Y_0 {limit}))
"""

FUNCTIONS = """
def mechanism(records, rng):
    return sum(records) + rng.laplace(scale=0.01)


def neighbors():
    return [1.0, 0.5], [0.0, 0.5]
"""

WRONG_RULE = """
import torch
from torch import nn
import quintain as q


class Scaled(nn.Module):
    def forward(self, x):
        return 3 * x


@q.certify.register_layer_rule(Scaled)
def scaled(layer, interval, rounding):
    return interval.elementwise_affine(torch.tensor(1.0), torch.tensor(0.0), rounding, roundings=1)


def make():
    return nn.Sequential(nn.Flatten(), Scaled(), nn.Linear(16, 2))
"""


@pytest.fixture(scope="module")
def without_record(project):
    """Inputs of commands that end without a record."""
    home = project.parent / "without"
    home.mkdir()
    shutil.copy(project / "d.npz", home)
    (home / "pyproject.toml").write_text("[tool.quintain]\n")
    (home / "functions.py").write_text(FUNCTIONS)
    (home / "wrong.py").write_text(WRONG_RULE)
    for name, limit in (("sat", 0.5), ("unsat", 2.0), ("unknown", 1.0)):
        (home / f"{name}.vnnlib").write_text(PROPERTY.format(limit=limit))
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]) for name in "xy"]
    nodes = [
        helper.make_node("Mul", ["x", "third"], ["z"]),
        helper.make_node("Mul", ["z", "three"], ["y"]),
    ]
    factors = [
        numpy_helper.from_array(np.float32(one), name)
        for one, name in ((1 / 3 * (1 - 2**-24), "third"), (3.0, "three"))
    ]
    graph = helper.make_graph(nodes, "net", value[:1], value[1:], factors)
    onnx.save_model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), home / "n.onnx"
    )
    for seed in range(5):
        rng = np.random.default_rng(seed)
        included = rng.random(500) < 0.5
        np.savez(home / f"s{seed}.npz", scores=10.0 * included + rng.normal(size=500), included=included)
    return home


CERTIFY = ("certify", "--model", "n.onnx", "--property")
SCORES = [word for seed in range(5) for word in ("--scores", f"s{seed}.npz")]


@pytest.mark.parametrize(
    ("words", "code", "element", "level"),
    [
        ((*CERTIFY, "unsat.vnnlib"), ExitCode.OK, [], ""),
        ((*CERTIFY, "sat.vnnlib"), ExitCode.FAILED, ["failure"], "error"),
        ((*CERTIFY, "unknown.vnnlib", "--seconds", 1), ExitCode.UNDECIDED, ["error"], "warning"),
        (("audit", *SCORES[:2], "--claim", 1), ExitCode.UNDECIDED, ["error"], "warning"),
        (("audit", *SCORES, "--claim", 1), ExitCode.ALARM, ["error"], "error"),
        (
            ("audit", "--mechanism", "functions.py:mechanism", "--claim", 0.1, "--runs", 300),
            ExitCode.ALARM,
            ["error"],
            "error",
        ),
        (
            ("certify", "--model", "wrong.py:make", "--data", "d.npz", "--threat", "linf:0.05"),
            ExitCode.ALARM,
            ["error"],
            "error",
        ),
    ],
    ids=["unsat", "sat", "unknown", "suspect", "contradiction", "mechanism", "alarm"],
)
def test_what_no_record_says_is_told_to_every_reader(without_record, quintain, words, code, element, level):
    got, _, err = quintain(*words, *FILES, home=without_record)
    assert got == code, err
    name = f"quintain {words[0]}"
    assert outcomes(without_record / "ci/junit.xml") == {("quintain.run", name): element}
    root = ElementTree.parse(without_record / "ci/junit.xml")
    facts = {one.get("name"): one.get("value") for one in root.iter("property")}
    assert (facts["outcome"], facts["exit-code"]) == (code.name, str(int(code)))
    found, invocation = results(without_record / "ci/q.sarif")
    assert [one["level"] for one in found] == ([level] if level else [])
    assert invocation["exitCode"] == code
    text = (without_record / "ci/summary.md").read_text().rpartition("## ")[2]
    assert text.startswith(f"{name}: {code.name}\n")
    assert f"(exit code {int(code)})" in text
    if code and "wrong.py:make" not in words:
        assert "the command ended with" not in text


@pytest.mark.parametrize(
    "words",
    [
        (*CERTIFY, "unsat.vnnlib"),
        ("audit", *SCORES[:2], "--claim", 9),
        ("audit", "--mechanism", "functions.py:mechanism", "--claim", 200, "--runs", 100),
        ("referee", "--model", "n.onnx", "--property", "unsat.vnnlib", "--result", "unsat"),
    ],
    ids=["property", "scores", "mechanism", "referee"],
)
def test_what_a_command_without_a_record_does_not_measure_is_named(without_record, quintain, words):
    home = without_record.parent / "requiring"
    shutil.copytree(without_record, home, dirs_exist_ok=True)
    (home / "pyproject.toml").write_text('[tool.quintain]\nrequire = ["clean_accuracy >= 0.01"]\n')
    code, out, err = quintain(*words, *FILES, home=home)
    assert code == ExitCode.OK, err
    assert "not checked: the requirements of " in " ".join(out.split())
    assert outcomes(home / "ci/junit.xml") == {("quintain.run", f"quintain {words[0]}"): []}
    text = (home / "ci/summary.md").read_text().rpartition("## ")[2]
    assert "Not checked, because this run does not measure it: `clean_accuracy >= 0.01`" in text
    assert "does not measure it: clean_accuracy >= 0.01" in (home / "ci/junit.xml").read_text().replace(
        "&gt;", ">"
    )


def test_an_alarm_before_there_is_a_record_leaves_the_requirements_undecided(without_record, quintain):
    words = ("--model", "wrong.py:make", "--data", "d.npz", "--threat", "linf:0.02", "--require", PASSES)
    code, _, _ = quintain("certify", *words, *FILES, home=without_record)
    assert code == ExitCode.ALARM
    found = {name: tags for (_, name), tags in outcomes(without_record / "ci/junit.xml").items()}
    assert found == {"quintain certify": ["error"], PASSES: ["error"]}


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--require", PASSES), "got --require with --property"),
        (("--out", "runs/p"), "got --out with --property"),
        (("--weights", "d.npz"), "got --property with --weights"),
        (("--data", "d.npz"), "got --property with --data"),
        (("--device", "cuda"), "got --property with --device cuda"),
    ],
)
def test_what_a_property_has_no_use_for_is_refused(without_record, quintain, words, part):
    code, out, err = quintain(*CERTIFY, "unsat.vnnlib", *words, home=without_record)
    assert code == ExitCode.USAGE
    assert part in err
    assert "unsat" not in out


@pytest.mark.parametrize(
    "wrong", [("--limt", 30), ("--limit", "abc"), ("--junit",)], ids=["no option", "no number", "no value"]
)
def test_a_command_line_that_is_refused_is_told_to_every_reader(project, quintain, wrong):
    """What an earlier run wrote does not stand for it."""
    home = project.parent / "refused"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(project, home, ignore=shutil.ignore_patterns("runs", "ci", "inner"))
    assert quintain(*attack("--json", "ci/q.json", *FILES, out="a"), home=home)[0] == ExitCode.FAILED
    code, _, err = quintain(*attack("--json", "ci/q.json", *FILES, *wrong, out="b"), home=home)
    assert code == ExitCode.USAGE, err
    assert not (home / "ci/q.json").exists()
    found, invocation = results(home / "ci/q.sarif")
    assert found == []
    assert invocation["exitCode"] == ExitCode.USAGE
    assert outcomes(home / "ci/junit.xml") == {("quintain.run", "quintain attack"): ["error"]}
    assert "(exit code 2)" in (home / "ci/summary.md").read_text().rpartition("## ")[2]


def test_a_report_on_an_unfinished_run_leaves_its_requirements_open(project, quintain):
    assert quintain(*attack(out="whole"))[0] == ExitCode.FAILED
    shutil.copytree(project / "whole", project / "cut", dirs_exist_ok=True)
    (project / "cut/unfinished").mkdir(exist_ok=True)
    assert quintain("report", "cut", *FILES, "--json", "ci/cut.js")[0] == ExitCode.OK
    cases = outcomes(project / "ci/junit.xml")
    assert {tuple(tags) for tags in cases.values()} == {("error",)}
    assert any(name == FAILS for _, name in cases)
    assert {one["level"] for one in results(project / "ci/q.sarif")[0]} == {"warning"}
    record = json.loads((project / "ci/cut.js").read_text())
    assert record["verdict"]["outcome"] == "INTERRUPTED"
    assert {one["verdict"]["decision"] for one in record["requirements"]} == {"UNDECIDED"}


def test_a_gate_without_a_run_is_no_error(project, quintain):
    code, _, err = quintain("gate", "--require", PASSES, *FILES)
    assert code == ExitCode.OK, err
    assert outcomes(project / "ci/junit.xml") == {("quintain.run", "quintain gate"): []}
    assert results(project / "ci/q.sarif")[0] == []


SIGNALLED = """
import os
import signal
import sys

from quintain.cli import ci_files
from quintain.cli.main import run

write = ci_files.CIFiles.write


def disturbed(files, code):
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    return write(files, code)


ci_files.CIFiles.write = disturbed
run()
"""


def test_a_second_signal_keeps_no_file_from_being_written(project, ready):
    (project / "signalled.py").write_text(SIGNALLED)
    words = (
        "check",
        "--model",
        "net.py:make",
        "--data",
        "d.npz",
        "--out",
        "runs/signalled",
        "--junit",
        "s.xml",
    )
    code, _, err = ready(project / "signalled.py", *words, home=project)
    assert code == ExitCode.OK, err
    assert ("quintain.run", "quintain check") in outcomes(project / "s.xml")


def test_an_interrupted_run_is_an_error(call, weights, small, monkeypatch, tmp_path):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(certify, "run_certify", stopped)
    code, _, _ = call("certify", "--data", small, "--weights", weights, "--threat", "linf:4/255", *FILES)
    assert code == ExitCode.INTERRUPTED
    assert outcomes(tmp_path / "ci/junit.xml") == {("quintain.run", "quintain certify"): ["error"]}
    assert results(tmp_path / "ci/q.sarif")[1]["exitCode"] == ExitCode.INTERRUPTED


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--junit", "model_folder"), "is a folder"),
        (("--sarif", "d.npz/x"), "is a file"),
        (("--json", "/proc/none/x.json"), "cannot be written"),
        (("--junit", "a.xml", "--sarif", "./a.xml"), "both name"),
        (("--junit", "-"), "only --json"),
        (("--json", "r/mine.json", "--out", "r"), "lies in a run folder"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(call, tmp_path, words, part):
    (tmp_path / "model_folder").mkdir()
    (tmp_path / "d.npz").touch()
    code, _, err = call("attack", "--model", "no-such-model", *words)
    assert code == ExitCode.USAGE
    assert part in err
    assert "no-such-model" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.npz", "model_folder"]


def test_what_an_earlier_run_wrote_does_not_stand_for_this_one(call, tmp_path):
    shutil.copy(GOLDEN / "schema-2-audit.json", tmp_path / "r.json")
    first = call("attack", "--weights", "nowhere", "--junit", "j.xml", "--sarif", "q.sarif")
    (tmp_path / "j.xml").write_text((tmp_path / "j.xml").read_text().replace("nowhere", "before"))
    again = call(
        "attack", "--weights", "nowhere", "--junit", "j.xml", "--sarif", "q.sarif", "--json", "r.json"
    )
    assert first[0] == again[0] == ExitCode.USAGE
    assert outcomes(tmp_path / "j.xml")["quintain.run", "quintain attack"] == ["error"]
    assert "before" not in (tmp_path / "j.xml").read_text()
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize("option", ["junit", "sarif", "json", "summary"])
@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("--weights", "wx.safetensors"), "wx.safetensors"),
        (("--weights", "wx.safetensors"), "link.safetensors"),
        (("--model", "net.py:make"), "net.py"),
        (("--model", "scores:net.py:make"), "net.py"),
        (("--data", "d.npz"), "d.npz"),
        ((), "pyproject.toml"),
    ],
)
def test_no_output_replaces_what_a_command_reads(call, tmp_path, option, words, name):
    for file in ("wx.safetensors", "net.py", "d.npz", "pyproject.toml"):
        (tmp_path / file).write_text("# of the user\n")
    (tmp_path / "link.safetensors").symlink_to("wx.safetensors")
    code, _, err = call("attack", *words, f"--{option}", name)
    assert code == ExitCode.USAGE
    assert f"--{option} {name}" in err
    assert (tmp_path / name).read_text() == "# of the user\n"


def test_no_output_replaces_a_file_of_another_making(call, tmp_path):
    shutil.copy(GOLDEN / "schema-2-audit.json", tmp_path / "r.json")
    (tmp_path / "pytest.xml").write_text('<testsuites name="pytest tests"/>')
    (tmp_path / "empty.sarif").touch()
    for option, name in (("junit", "r.json"), ("sarif", "r.json"), ("junit", "pytest.xml")):
        code, _, err = call("attack", "--weights", "nowhere", f"--{option}", name)
        assert code == ExitCode.USAGE
        assert f"was not written by --{option}: it would be lost" in err
        assert (tmp_path / name).stat().st_size
    assert call("attack", "--weights", "nowhere", "--sarif", "empty.sarif")[0] == ExitCode.USAGE
    assert results(tmp_path / "empty.sarif")[1]["executionSuccessful"] is False


@pytest.mark.parametrize("words", [("replay", "first"), ("attack",)])
def test_no_output_replaces_the_record_of_another_run(call, tmp_path, words):
    (tmp_path / "first").mkdir()
    record = tmp_path / "first" / "result.json"
    shutil.copy(GOLDEN / "schema-2-audit.json", record)
    (tmp_path / "first" / "run.json").write_text("{}")
    code, _, err = call(*words, "--json", "first/result.json")
    assert code == ExitCode.USAGE
    assert "lies in a run folder" in err
    assert record.is_file()


def test_a_device_is_written_to_and_stays_one(call, weights):
    code, _, _ = call("attack", "--weights", "nowhere", "--junit", os.devnull)
    assert code == ExitCode.USAGE
    assert not Path(os.devnull).is_file()


def test_every_command_of_a_run_takes_the_options_and_no_other_does(call):
    for command in COMMANDS:
        _, out, _ = call(command.name, "--help")
        takes = [f"--{one.name}" in out for one in OPTIONS]
        assert takes == [command.concerns_a_run] * len(OPTIONS), command.name
    assert {command.name for command in COMMANDS if not command.concerns_a_run} >= {"list", "schema"}
