"""``quintain audit --train``: a second opinion on anybody's training, which is a black box."""

import re
from pathlib import Path

import numpy as np
import pytest

from quintain.core.errors import ExitCode
from quintain.results.bounds import Consistency
from quintain.results.codec import load
from quintain.results.quantity import Basis

NEIGHBOR = """
import numpy as np

def train(x, y, seed):
    '''A model that remembers everything: scores by the distance to the nearest record of each class.'''
    with open("trainings.txt", "a") as log:
        log.write(f"{seed}\\n")
    def scores(z):
        def nearest(label):
            of = x[y == label].reshape(-1, 8)
            return ((z.reshape(len(z), 1, 8) - of[None]) ** 2).sum(2).min(1)
        return np.exp(-1e4 * np.stack([nearest(0), nearest(1)], 1))
    return scores
"""

CONSTANT = """
import torch
from torch import nn

def train(dataset, seed):
    assert isinstance(dataset, torch.utils.data.TensorDataset), type(dataset)
    assert dataset.tensors[0].dtype == torch.float32 and dataset.tensors[1].dtype == torch.int64
    return nn.Linear(8, 2).requires_grad_(False)
"""


@pytest.fixture
def audit(call, tmp_path):
    """Audit a training whose file has this text, on 400 records of 8 numbers."""
    rng = np.random.default_rng(0)
    x, y = rng.random((410, 8), dtype=np.float32), rng.integers(0, 2, 410)
    np.savez(
        tmp_path / "d.npz",
        train_images=x[:400],
        train_labels=y[:400],
        test_images=x[400:],
        test_labels=y[400:],
    )

    def run(text, *words, canaries=120, name="train"):
        (tmp_path / "mine.py").write_text(text)
        spec = f"mine.py:{name}"
        code, out, err = call(
            "audit", "--train", spec, "--data", "d.npz", "--canaries", canaries, "--out", "r", *words
        )
        return code, " ".join(out.split()), " ".join(err.split())

    return run


def test_a_training_that_remembers_everything_contradicts_its_claim(audit):
    code, out, err = audit(NEIGHBOR, "--claim", 1, "--kind", "mislabelled")
    assert code == ExitCode.ALARM
    assert "CONTRADICTION: chance explains with less than 1e-6 that the claim is true" in out
    assert "the claim is contradicted" in err
    record = load(Path("r/result.json"))
    assert len(record.result.audit.repeated_epsilons) == 4
    assert record.result.canary_kind == "mislabeled"
    (claim,) = record.claims
    assert claim.bracket.consistency is Consistency.CONTRADICTION
    assert claim.bracket.upper.basis is Basis.CLAIMED
    seeds = Path("trainings.txt").read_text().split()
    assert len(seeds) == len(set(seeds)) == 5


@pytest.mark.parametrize("kind", ["mislabeled", "pattern", "blank"])
@pytest.mark.parametrize("adjacency", ["add/remove", "replace"])
def test_a_training_that_ignores_its_records_contradicts_nothing(audit, kind, adjacency):
    code, out, _ = audit(CONSTANT, "--claim", 0.5, "--kind", kind, "--adjacency", adjacency)
    assert code == ExitCode.OK
    assert "CONSISTENT: the claim was not crossed, which does not prove it" in out


@pytest.mark.parametrize("kind", ["pattern", "blank", "own.npz"])
def test_each_kind_of_canary_is_remembered(audit, kind):
    rng = np.random.default_rng(1)
    np.savez("own.npz", images=rng.random((60, 8), dtype=np.float32), labels=rng.integers(0, 2, 60))
    _, out, _ = audit(NEIGHBOR, "--kind", kind, canaries=60)
    assert re.search(r"measured, at least [12]\.\d", out)
    assert "nothing is claimed" in out


def test_a_claim_above_the_ceiling_cannot_be_contradicted(audit):
    code, out, _ = audit(NEIGHBOR, "--claim", 8, canaries=40)
    assert code == ExitCode.OK
    assert "this audit cannot contradict this claim" in out


def test_a_claim_passes_no_requirement_and_what_was_measured_fails_one(audit):
    code, out, _ = audit(CONSTANT, "--claim", 2, "--require", "epsilon <= 2")
    assert code == ExitCode.UNDECIDED
    assert "claimed, and not shown" in out
    code, out, _ = audit(NEIGHBOR, "--out", "other", "--require", "epsilon <= 1", canaries=60)
    assert code == ExitCode.FAILED


def test_whether_the_seed_is_followed_is_recorded(audit):
    _, out, _ = audit(NEIGHBOR, "--check-seed")
    assert "the same seed gave the same model twice" in out
    fresh = NEIGHBOR.replace(
        "    def scores", "    x = x + 0.01 * np.random.default_rng().normal(size=x.shape)\n    def scores"
    )
    _, out, _ = audit(fresh, "--check-seed", "--out", "other")
    assert "takes random numbers from elsewhere, as it may" in out


def test_the_control_is_audited_beside_it(audit):
    text = f"{NEIGHBOR}\n{CONSTANT.replace('def train', 'def private')}"
    _, out, _ = audit(text, "--claim", 1, "--control", "mine.py:train", name="private")
    assert "control mine.py:train: at least 3." in out


UNTRAINED = """
import torch
from torch import nn

def train(dataset, seed):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    copy = nn.Linear(8, 2)  # the one that is trained is not the one that is returned
    optimizer = torch.optim.SGD(copy.parameters(), lr=0.1)
    nn.functional.cross_entropy(copy(dataset.tensors[0]), dataset.tensors[1]).backward()
    optimizer.step()
    return net
"""


@pytest.mark.parametrize("adjacency", ["add/remove", "replace"])
def test_a_training_that_returns_an_untrained_net_is_noted(audit, adjacency):
    code, out, _ = audit(UNTRAINED, "--claim", 1, "--adjacency", adjacency)
    assert code == ExitCode.OK
    assert re.search(r"the model is right on \d+\.\d % of (280|3\d\d) records that it was trained on", out)
    note = "it is not shown to have learned anything, and no audit of such a model tells whether"
    assert "mine.py:train returns a model that is right on" in out
    assert note in out
    record = load(Path("r/result.json"))
    assert any(note in one for one in record.notes)
    assert record.result.fit.seems_untrained


def test_a_control_that_returns_an_untrained_net_is_noted(audit):
    text = f"{NEIGHBOR}\n{UNTRAINED.replace('def train', 'def bare')}"
    _, out, _ = audit(text, "--control", "mine.py:bare", canaries=60)
    assert "mine.py:bare returns a model that is right on" in out
    assert "mine.py:train returns a model" not in out


def test_a_training_that_learned_its_records_is_not_said_to_have_learned_nothing(audit):
    _, out, _ = audit(NEIGHBOR, canaries=60)
    assert "the model is right on 100.0 % of 340 records that it was trained on, of which 5" in out
    assert "not shown to have learned" not in out
    record = load(Path("r/result.json"))
    assert record.result.fit.num_correct == record.result.fit.num_examples == 340


def test_a_killed_audit_goes_on_after_its_finished_trainings(audit, monkeypatch):
    from quintain.evaluate.steps import audit_training

    real, calls = audit_training.train_black_box, []

    def killed(*given, **words):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(words)
        return real(*given, **words)

    monkeypatch.setattr(audit_training, "train_black_box", killed)
    code, _, err = audit(NEIGHBOR, "--claim", 1)
    assert code == ExitCode.INTERRUPTED
    assert "to resume" in err
    assert len(Path("trainings.txt").read_text().split()) == 2
    monkeypatch.setattr(audit_training, "train_black_box", real)
    assert audit(NEIGHBOR, "--claim", 1)[0] == ExitCode.ALARM
    assert len(Path("trainings.txt").read_text().split()) == 5
    assert load(Path("r/result.json")).result.fit.accuracy == 1
    assert not (Path("r") / "unfinished").exists()


def test_an_unfinished_audit_of_another_file_is_refused(audit, monkeypatch):
    from quintain.evaluate.steps import audit_training

    real, calls = audit_training.train_black_box, []

    def killed(*given, **words):
        if calls:
            raise KeyboardInterrupt
        calls.append(words)
        return real(*given, **words)

    monkeypatch.setattr(audit_training, "train_black_box", killed)
    audit(NEIGHBOR, "--claim", 1)
    code, _, err = audit(NEIGHBOR + "\n", "--claim", 1)
    assert code == ExitCode.USAGE
    assert "holds trainings of another training" in err


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("def train(dataset): ...", ExitCode.USAGE, "takes (dataset); expected train(dataset, seed)"),
        ("def train(x, y): ...", ExitCode.USAGE, "takes (x, y); expected train(dataset, seed)"),
        ("def train(x, y, seed, rate): ...", ExitCode.USAGE, "expected train(dataset, seed)"),
        ("train = 3", ExitCode.EXECUTION, "is a int; expected a function train(dataset, seed)"),
        ("def other(dataset, seed): ...", ExitCode.USAGE, "has no 'train'; it has other"),
        ("def train(dataset, seed):\n    return 1 / 0", ExitCode.EXECUTION, "line 2: ZeroDivisionError"),
        ("def train(dataset, seed):\n    exit(7)", ExitCode.EXECUTION, "sys.exit"),
        ("def train(dataset, seed): ...", ExitCode.EXECUTION, "returns nothing; expected the trained model"),
        ("def train(dataset, seed): return 3, 4", ExitCode.EXECUTION, "returns a tuple"),
        (CONSTANT.replace("8, 2", "8, 3"), ExitCode.OK, ""),
        (CONSTANT.replace("8, 2", "9, 2"), ExitCode.EXECUTION, "returns a model that fails: RuntimeError"),
        (CONSTANT.replace("nn.Linear(8, 2).requires_grad_(False)", "lambda x: x.nan_to_num() * float('nan')"),
         ExitCode.EXECUTION, "NaN or infinite on 120 of 120 inputs"),
        (CONSTANT.replace("nn.Linear(8, 2).requires_grad_(False)", "lambda x: x.argmax(1)"),
         ExitCode.EXECUTION, "expected floating-point logits"),
        ("def train(x, y, seed): return lambda z: z[:3]", ExitCode.EXECUTION, "one row of logits an example"),
    ],
)  # fmt: skip
def test_what_cannot_be_audited_is_said_in_one_line(audit, text, code, message):
    found, _, err = audit(text)
    assert found == code
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--kind", "patern"), "Did you mean pattern"),
        (("--kind", "none.npz"), "there is no file none.npz"),
        (("--canaries", 400), "expected fewer canaries than records"),
        (("--claim", "nan"), "expected an epsilon from 0 up"),
        (("--control", "mine.py"), "expected path/to/file.py:function"),
    ],
)
def test_options_that_do_not_fit_are_usage_errors(audit, words, message):
    code, _, err = audit(CONSTANT, *words)
    assert code == ExitCode.USAGE
    assert message in err


def test_own_canaries_of_another_shape_are_refused(audit):
    np.savez("own.npz", images=np.zeros((120, 9), dtype=np.float32), labels=np.zeros(120, dtype=int))
    code, _, err = audit(CONSTANT, "--kind", "own.npz")
    assert code == ExitCode.EXECUTION
    assert "has canaries of shape (9,); expected (8,)" in err


def test_a_change_of_a_file_that_is_imported_is_another_training(audit, tmp_path, monkeypatch):
    from quintain.evaluate.steps import audit_training

    (tmp_path / "noise.py").write_text("SCALE = 0\n")
    text = f"from noise import SCALE\n{NEIGHBOR}"
    real, calls = audit_training.train_black_box, []

    def killed(*given, **words):
        if calls:
            raise KeyboardInterrupt
        calls.append(words)
        return real(*given, **words)

    monkeypatch.setattr(audit_training, "train_black_box", killed)
    assert audit(text, "--claim", 1)[0] == ExitCode.INTERRUPTED
    monkeypatch.setattr(audit_training, "train_black_box", real)
    (tmp_path / "noise.py").write_text("SCALE = 1\n")
    code, _, err = audit(text, "--claim", 1)
    assert code == ExitCode.USAGE
    assert "holds trainings of another training" in err
    (tmp_path / "noise.py").write_text("SCALE = 0\n")
    assert audit(text, "--claim", 1)[0] == ExitCode.ALARM
    # nor is its result taken for that of other code
    (tmp_path / "noise.py").write_text("SCALE = 2\n")
    code, _, err = audit(text, "--claim", 1)
    assert code == ExitCode.USAGE
    assert "content of --train" in err
