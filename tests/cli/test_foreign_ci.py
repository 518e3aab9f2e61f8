"""The CI of another project, played as processes: a folder above states its requirements."""

import numpy as np
import pytest

from quintain.core.errors import ExitCode
from quintain.results.codec import load

NET = """
import torch
from torch import nn

def make(threshold=0.5):
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[-1.0 / 16] * 16, [1.0 / 16] * 16]))
        net[1].bias.copy_(torch.tensor([threshold, -threshold]))
    return net.eval()

def changed():
    return make(0.7)

class Rounded(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = make()

    def forward(self, x):
        return self.net((x * 64).round() / 64)

def masked():
    return Rounded().eval()
"""

PYPROJECT = """[project]
name = "sorter"
version = "1"

[tool.quintain]
require = [
    "robust_accuracy(linf:4/255, scope=sample) >= 0.85",
    "attacked_accuracy(linf:4/255) >= 0.85",
    "epsilon(delta=1e-5) <= 3",
]
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository: pyproject.toml at the top, a net and its data in ``ml``, and the folder that CI runs in.

    The net tells images that are darker than a threshold from others, so that all of it is known: of 40
    images 4 lie within 4/255 of the threshold, and 36 are robust.
    """
    top = tmp_path_factory.mktemp("ci") / "sorter"
    (top / "ml" / "ci").mkdir(parents=True)
    (top / "pyproject.toml").write_text(PYPROJECT)
    (top / "ml" / "net.py").write_text(NET)
    values = np.concatenate(
        [np.linspace(0.1, 0.45, 18), [0.49, 0.495, 0.505, 0.51], np.linspace(0.55, 0.9, 18)]
    )
    images = np.ones((40, 4, 4), np.float32) * values[:, None, None].astype(np.float32)
    np.savez(top / "ml" / "data.npz", images=images, labels=(values > 0.5).astype(np.int64))
    return top


@pytest.fixture
def quintain(repository, ready):
    """Run the command line as CI does, in a folder far below the requirements."""

    def run(*words):
        told = ready.quintain(*words, home=repository / "ml" / "ci", NO_COLOR="1")
        assert "Traceback" not in told.err
        return told.code, told.out, told.err

    return run


@pytest.fixture
def evaluate(quintain):
    """Evaluate a net of the repository into a folder."""

    def run(out, *words, net="make"):
        named = ("--model", f"../net.py:{net}", "--data", "../data.npz", "--split", "", "--attack", "pgd")
        return quintain("evaluate", *named, "--out", out, *words)

    return run


def test_a_build_is_green_by_the_requirements_of_a_parent_folder(repository, evaluate, tmp_path):
    code, out, err = evaluate(tmp_path / "r", "--junit", tmp_path / "junit.xml")
    assert code == ExitCode.OK, err
    assert f"3 requirements from {repository / 'pyproject.toml'}\n" in out
    assert "PASS  robust_accuracy(linf:4/255, scope=sample) >= 0.85: between 0.9 and 0.9" in out
    assert "PASS  attacked_accuracy(linf:4/255) >= 0.85: attacks left 36 of 40 examples" in out
    assert "not checked, because this result has no epsilon: epsilon(delta=1e-5) <= 3\n" in out
    record = load(tmp_path / "r" / "result.json")
    assert (record.verdict.outcome, record.verdict.exit_code) == ("OK", 0)
    assert [one.line for one in record.requirements] == [7, 8]
    assert record.not_checked == ("epsilon(delta=1e-5) <= 3",)
    assert (tmp_path / "junit.xml").exists()


def test_the_command_line_adds_a_requirement_that_fails_the_build(repository, evaluate, tmp_path):
    code, out, _ = evaluate(tmp_path / "r", "--require", "attacked_accuracy(linf:4/255) >= 95 %")
    assert code == ExitCode.FAILED
    assert f"3 requirements from {repository / 'pyproject.toml'}, 1 from --require\n" in out
    assert "FAIL  attacked_accuracy(linf:4/255) >= 95 %: attacks left 36 of 40 examples" in out
    assert load(tmp_path / "r" / "result.json").verdict.exit_code == 1


def test_what_is_undecided_fails_the_build_unless_a_warning_is_asked_for(evaluate, tmp_path):
    words = ("--require", "robust_accuracy(linf:4/255) >= 0.9")
    code, out, _ = evaluate(tmp_path / "a", *words)
    assert code == ExitCode.UNDECIDED
    assert "UNDECIDED  robust_accuracy(linf:4/255) >= 0.9: between 0.7" in out
    code, out, _ = evaluate(tmp_path / "b", *words, "--undecided", "warn")
    assert code == ExitCode.OK
    assert "warning: 1 of 3 requirements undecided; the exit code is 0 by --undecided warn\n" in out


def test_a_net_that_hides_its_gradients_is_no_green_build(quintain, evaluate, tmp_path):
    code, out, err = evaluate(tmp_path / "branch", "--junit", tmp_path / "junit.xml", net="masked")
    assert code == ExitCode.UNDECIDED, err
    line = next(one for one in out.splitlines() if one.startswith("UNDECIDED  attacked_accuracy"))
    assert "attacks left 38 of 40 examples: " in line
    assert "but trust is doubtful, because " in line
    assert "the gradient is zero on 100 % of the examples" in line
    assert "the attacks that docs/attacks.md names for these indicators may show it, or a certificate" in line
    assert "but trust is doubtful, because " in (tmp_path / "junit.xml").read_text()
    assert evaluate(tmp_path / "warned", "--undecided", "warn", net="masked")[0] == ExitCode.OK
    assert evaluate(tmp_path / "main")[0] == ExitCode.OK
    code, out, _ = quintain("compare", tmp_path / "main", tmp_path / "branch", "--fail-on-regression")
    assert code == ExitCode.FAILED
    assert "REGRESSION  model:linf:4/255: the accuracy under attack is not known any more: trust" in out


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        (
            "require =",
            "requre =",
            "line 6: no key of [tool.quintain] is called 'requre'. Did you mean require?",
        ),
        ("[tool.quintain]", "[tool.quintian]", "line 5: [tool.quintian] is read by no tool; did you mean"),
        ("robust_accuracy", "robust_acuracy", "line 7: no quantity is called 'robust_acuracy'. Did you mean"),
        (">= 0.85", "> 0.85", "line 7: requirement 'robust_accuracy(linf:4/255, scope=sample) > 0.85'"),
        ("linf:4/255", "lnf:4/255", "line 7: no threat is called 'lnf'. Did you mean linf"),
        (
            "linf:4/255",
            "linf:8/255",
            "line 7) is on linf:8/255, and this run measures linf:4/255: add --threat",
        ),
        ('name = "sorter"', "name = sorter", "line 2: no TOML: Invalid value; correct the file"),
        ("]\n", "", "no TOML"),
    ],
)
def test_a_slip_in_the_requirements_is_no_green_build(repository, evaluate, tmp_path, right, wrong, told):
    path = repository / "ml" / "pyproject.toml"
    path.write_text(PYPROJECT.replace(right, wrong))
    try:
        code, out, err = evaluate(tmp_path / "r")
    finally:
        path.unlink()
    assert code == ExitCode.USAGE
    assert f"{path}, line " in err
    assert told in err
    assert (out, err.count("\n")) == ("", 1)
    assert not (tmp_path / "r").exists()


def test_a_regression_fails_the_build(quintain, evaluate, tmp_path):
    assert evaluate(tmp_path / "main")[0] == ExitCode.OK
    code, out, _ = evaluate(tmp_path / "branch", net="changed")
    assert code == ExitCode.FAILED
    folders = (tmp_path / "main", tmp_path / "branch")
    assert quintain("compare", *folders)[0] == ExitCode.OK
    code, out, _ = quintain("compare", *folders, "--fail-on-regression")
    assert code == ExitCode.FAILED
    assert "REGRESSION  model:clean: the accuracy fell by " in out
    assert "REGRESSION  model:linf:4/255: the certified accuracy fell by " in out
    assert "REGRESSION  model:linf:4/255: the accuracy under attack fell by " in out
    assert quintain("compare", *folders[::-1], "--fail-on-regression")[0] == ExitCode.OK
    words = ("--fail-on-regression", "--tolerance", "0.5")
    assert quintain("compare", *folders, *words)[0] == ExitCode.OK
