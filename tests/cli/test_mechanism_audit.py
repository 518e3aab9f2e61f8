"""``quintain audit --mechanism``: many runs on two neighboring inputs, held to the claim."""

import numpy as np
import pytest

from quintain.core.errors import ExitCode

COUNT = """
import numpy as np

def neighbors():
    return np.arange(5.0), np.arange(4.0)

def laplace(records, rng):
    '''A count with Laplace noise of scale 1: epsilon 1.'''
    return len(records) + rng.laplace()

def too_little(records, rng):
    '''The same with an eighth of the noise: epsilon 8.'''
    return len(records) + rng.laplace() / 8

def gaussian_vector(records, rng):
    '''Ten numbers, one of which tells: mu = 4, and the others tell nothing.'''
    noise = rng.normal(size=10)
    noise[3] += 4 * len(records)
    return noise

def spread(records, rng):
    '''The mean stays, the noise does not.'''
    return rng.normal(size=8) * (1.0 if len(records) == 5 else 4.0)

def constant(records, rng):
    return float(len(records))

def nothing(records, rng):
    return 0.0
"""


@pytest.fixture
def audit(call, tmp_path):
    def run(name, *words, text=COUNT, runs=400):
        (tmp_path / "f.py").write_text(text)
        code, out, err = call("audit", "--mechanism", f"f.py:{name}", "--runs", runs, *words)
        return code, " ".join(out.split()), " ".join(err.split())

    return run


def test_a_mechanism_that_keeps_its_claim_is_not_accused(audit):
    code, out, _ = audit("laplace", "--claim", 1, "--delta", 0)
    assert code == ExitCode.OK
    assert "CONSISTENT" in out
    assert "the inputs differ by add/remove" in out


@pytest.mark.parametrize("name", ["too_little", "gaussian_vector", "spread", "constant"])
def test_a_mechanism_that_breaks_its_claim_is_contradicted(audit, name):
    code, out, _ = audit(name, "--claim", 1, "--delta", 1e-6)
    assert code == ExitCode.ALARM
    assert "CONTRADICTION: chance explains with less than 1e-6" in out


def test_a_mechanism_that_releases_nothing_of_its_inputs(audit):
    code, out, _ = audit("nothing", "--claim", 0)
    assert code == ExitCode.OK
    assert "measured, at least 0" in out


def test_so_few_runs_cannot_contradict_a_claim(audit):
    code, out, _ = audit("constant", "--claim", 8, runs=40)
    assert code == ExitCode.OK
    assert "this audit cannot contradict this claim" in out


def test_inputs_of_a_file(audit):
    np.savez("pair.npz", records=np.arange(5.0), neighbor=np.array([0, 1, 2, 3, 9.0]))
    code, out, _ = audit("laplace", "--claim", 1, "--delta", 0, "--inputs", "pair.npz")
    assert code == ExitCode.OK
    assert "the inputs differ by replace" in out


MEAN = """
import numpy as np

def neighbors():
    return np.array([[1.0], [0.5]]), np.array([[{other}], [0.5]])

def laplace(records, rng):
    '''A sum of numbers in [-1, 1] with Laplace noise of scale 1: epsilon 1 for a record more.'''
    return float(np.sum(records)) + rng.laplace()
"""


def test_a_claim_for_a_record_more_is_held_to_a_blank_record_and_not_to_another(audit):
    words = ("--claim", 1, "--delta", 0)
    code, out, _ = audit("laplace", *words, "--adjacency", "add/remove", text=MEAN.format(other="0.0"))
    assert code == ExitCode.OK
    assert "the inputs differ by add/remove" in out
    code, _, err = audit("laplace", *words, "--adjacency", "add/remove", text=MEAN.format(other="-1.0"))
    assert code == ExitCode.USAGE
    assert "or a blank record (zeros) in the place of one" in err
    _, out, _ = audit("laplace", *words, text=MEAN.format(other="-1.0"))
    assert "the claim is taken for one of another record, as the inputs show" in out


NEIGHBORS = "def neighbors(): return {0}\ndef f(records, rng): return {1}\n"


@pytest.mark.parametrize(
    ("text", "words", "code", "message"),
    [
        ("def f(records, rng): return 0", (), ExitCode.USAGE, "expected a function neighbors() there"),
        (NEIGHBORS.format("[1.0, 2.0]", "None"), (), ExitCode.EXECUTION, "f.py:f releases None"),
        (NEIGHBORS.format("3", "0.0"), (), ExitCode.EXECUTION, "expected two neighboring inputs"),
        (NEIGHBORS.format("([1, 2], [1, 2])", "0.0"), (), ExitCode.EXECUTION, "expected neighbors"),
        (NEIGHBORS.format("([1, 2], [3, 4])", "0.0"), (), ExitCode.EXECUTION, "of which 2 and 2 are not"),
        (NEIGHBORS.format("([1, 2], [1])", "float('nan')"), (), ExitCode.EXECUTION, "all finite"),
        (NEIGHBORS.format("([1, 2], [1])", "1 / 0"), (), ExitCode.EXECUTION, "line 2: ZeroDivisionError"),
        (NEIGHBORS.format("([1, 2], [1])", "[0.0] * len(records)"), (), ExitCode.EXECUTION, "as many in"),
        (NEIGHBORS.format("([1, 2], [1])", "0.0"), ("--adjacency", "replace"), ExitCode.USAGE, "differ by"),
        (NEIGHBORS.format("([1, 2], [1])", "0.0"), ("--out", "r"), ExitCode.USAGE, "makes no run folder"),
        (NEIGHBORS.format("([1, 2], [1])", "0.0"), ("--require", "epsilon <= 1"), ExitCode.USAGE, "no run"),
        (NEIGHBORS.format("([1, 2], [1])", "0.0"), ("--epsilon", 1), ExitCode.USAGE, "expected --claim 1"),
        (NEIGHBORS.format("([1, 2], [1])", "0.0"), ("--claim", -1), ExitCode.USAGE, "an epsilon from 0 up"),
        (NEIGHBORS.format("([1, 2], [1])", "0.0"), ("--inputs", "no.npz"), ExitCode.USAGE, "no file no.npz"),
        (NEIGHBORS.format("([1, 2], [1])", "0.0"), ("--scores", "s.npz"), ExitCode.USAGE, "one of them"),
        (NEIGHBORS.format("([1, 2], [1])", "0.0"), ("--train", "f.py:f"), ExitCode.USAGE, "one of them"),
        (NEIGHBORS.format("([1, 2], [1])", "0.0"), ("--check-seed",), ExitCode.USAGE, "without --train"),
    ],
)  # fmt: skip
def test_what_cannot_be_audited_is_said_in_one_line(audit, text, words, code, message):
    text = text.replace("return [1.0, 2.0]", "return [1.0, 2.0], [1.0]")
    found, _, err = audit("f", *words, text=text)
    assert found == code
    assert message in err


def test_inputs_of_another_form_are_refused(audit):
    np.savez("pair.npz", records=np.arange(5.0))
    code, _, err = audit("laplace", "--inputs", "pair.npz")
    assert code == ExitCode.EXECUTION
    assert "has records; expected an .npz file of the arrays records and neighbor" in err
