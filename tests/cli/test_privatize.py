"""``quintain privatize``: what it says, what it refuses, and how it goes on."""

import shutil
import signal
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from quintain.cli.console import ProgressBars
from quintain.core.errors import ExitCode
from quintain.core.files import sha256_file
from quintain.data import load_data
from quintain.dp.accounting import ledger
from quintain.evaluate.privacy_target import default_batch_size
from quintain.evaluate.steps import privatize
from quintain.models.nets import xray_cnn
from quintain.models.weights import save_weights
from quintain.report import format as fmt
from quintain.results.codec import load

WORDS = ("--model", "net.py:make", "--batch", 50, "--steps", 6)


@pytest.fixture
def private(call, small, tmp_path):
    """Train a small net of the user's own privately."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(784, 2))\n"
    )
    return lambda *words: call("privatize", "--data", small, *WORDS, *words)


@pytest.fixture
def measured_alone(monkeypatch):
    """An audit's measurements on made-up records and nets of their own are left out, to save time: the user's
    have no part in them.
    """
    monkeypatch.setattr("quintain.evaluate.steps.audit.measurements", lambda *_plan, **_words: ())


@pytest.fixture
def weights_file(tmp_path):
    """Weights of a fresh net."""
    save_weights(xray_cnn(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def result(folder):
    return load(Path(folder) / "result.json")


def weights(folder):
    return sha256_file(Path(folder) / "models" / "private.safetensors")


def test_the_batch_is_an_eighth_of_few_records_and_is_in_the_record(call, small):
    assert call("privatize", "--data", small, "--plan", "--out", "p")[0] == ExitCode.OK
    assert result("p").result.plan.expected_batch_size == 200 // 8
    assert [default_batch_size(count) for count in (1, 100, 4095, 4096, 4708)] == [1, 12, 511, 512, 512]


def test_it_states_the_cost_in_accuracy_and_what_epsilon_rests_on(private, monkeypatch):
    monkeypatch.setattr(privatize, "EPSILONS", (1.0, 3.0))
    code, out, _ = private("--curve", "--batches", "20,50", "--out", "p")
    assert code == ExitCode.OK
    assert "(2 to 10 points are usual)" in out or "Privacy cost no accuracy" in out
    body = result("p").result
    assert [round(one.plan.epsilon, 1) for one in body.epsilon_sweep] == [1.0, 3.0]
    assert [one.plan.expected_batch_size for one in body.batch_size_sweep] == [20, 50]
    assert body.composed_epsilon > body.plan.epsilon
    assert (
        "the best of these 3 trainings by accuracy, the whole selection costs epsilon "
        f"{fmt.epsilon(body.composed_epsilon)}" in out
    )
    found = body.statement
    assert (found.adjacency, found.privacy_unit, found.sampling, found.reproducible) == (
        "add/remove",
        "record",
        "poisson",
        False,
    )
    assert "keyed by a secret key that is kept" in found.noise
    assert found.epsilon_lower_bound <= body.plan.epsilon
    assert 0.5 < found.adversary_accuracy < 0.7
    assert found.assumptions
    assert not Path("p/unfinished").exists()
    assert [path for path in Path("p").rglob("*") if path.name == "key"] == []


FORMS = """
import torch
from torch import nn
class Form(nn.Module):
    def __init__(self, form, width):
        super().__init__()
        self.form, self.last = form, nn.Linear(784, width)
    def forward(self, x):
        return self.form(self.last(x.flatten(1)))
def named(): return Form(lambda z: {"logits": z, "hidden": z * 2}, 2)
def one(): return Form(lambda z: z, 1)
def flat(): return Form(lambda z: z[:, 0], 1)
def pair(): return Form(lambda z: (z, 0), 2)
"""


@pytest.mark.usefixtures("measured_alone")
@pytest.mark.parametrize("form", ["named", "one", "flat", "pair"])
def test_a_net_is_trained_privately_and_audited_whatever_it_returns(call, small, tmp_path, form):
    (tmp_path / "forms.py").write_text(FORMS)
    words = ("--data", small, "--model", f"forms.py:{form}", "--batch", 50, "--steps", 4)
    assert call("privatize", *words, "--out", "p")[0] == ExitCode.OK
    assert result("p").result.plan.epsilon <= 3
    assert call("audit", *words, "--canaries", 20, "--out", "a")[0] == ExitCode.OK


LOADED = """
import torch
from torch import nn
def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 2))
"""


@pytest.mark.usefixtures("measured_alone")
def test_first_weights_that_a_factory_gives_are_an_assumption_that_is_written_wherever_epsilon_is(
    call, small, tmp_path
):
    (tmp_path / "loaded.py").write_text(LOADED)
    given = ("--model", "loaded.py:make", "--data", small)
    words = (*given, "--batch", 50, "--steps", 4)
    said = "loaded.py:make gives the same weights for every seed (1.weight and 1 more): epsilon covers"
    code, out, _ = call("privatize", *words, "--out", "p", "--require", "epsilon(delta=1e-5) <= 3")
    # public weights are legitimate: what is assumed is said, and nothing is refused
    assert code == ExitCode.OK
    assert said in out
    assert said in result("p").notes[0]
    assert call("report", "p")[0] == ExitCode.OK
    assert said in Path("p/report.html").read_text()
    assert said in call("audit", *words, "--canaries", 20, "--out", "a")[1]
    private = ("--private", "p", "--weights", "p/models/private.safetensors")
    code, out, err = call("leak", "loss-threshold", *given, *private, "--out", "l")
    assert said in out, err
    (advantage,) = (
        one for one in result("l").claims if one.bracket.quantity.metric.value.endswith("advantage")
    )
    assert any("were not learned from these records" in one for one in advantage.bracket.upper.assumptions)


def test_a_delta_of_one_over_the_records_is_warned_of_in_the_result(private):
    code, out, _ = private("--delta", 0.01, "--out", "p")
    assert code == ExitCode.OK
    assert "delta = 0.01 is not below 1/200" in " ".join(out.split())
    assert result("p").result.statement.warnings


def test_a_plan_trains_nothing(private, monkeypatch):
    monkeypatch.setattr(privatize, "fit", lambda *_args, **_words: pytest.fail("trained"))
    code, out, _ = private("--plan", "--out", "p")
    assert code == ExitCode.OK
    body = result("p").result
    assert body.steps_within_budget >= 6
    assert (
        body.noise_grid[body.batch_sizes.index(50)][body.step_counts.index(6)] == body.plan.noise_multiplier
    )
    assert body.epsilon_grid[body.batch_sizes.index(50)][body.step_counts.index(6)] == body.plan.epsilon <= 3
    assert "Noise multiplier for epsilon 3.00" in out
    assert not Path("p/models").exists()


def test_a_plan_asks_about_other_noise_and_batches(private):
    assert private("--plan", "--noise-multiplier", 2, "--batches", "20,100", "--out", "p")[0] == ExitCode.OK
    body = result("p").result
    assert body.batch_sizes == (20, 50, 100)
    assert body.plan.noise_multiplier == 2
    assert body.steps_within_budget > 6


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--epsilon", "0"), "got epsilon 0"),
        (("--epsilon", "-1"), "got epsilon -1"),
        (("--epsilon", "nan"), "got epsilon nan"),
        (("--epsilon", "inf"), "got epsilon inf"),
        (("--epsilon", "three"), "'--epsilon'"),
        (("--delta", "0"), "got delta 0"),
        (("--delta", "1"), "got delta 1"),
        (("--delta", "nan"), "got delta nan"),
        (("--batch", "0"), "got batch-size 0"),
        (("--batch", "201"), "got batch 201 out of 200 records"),
        (("--batch", "1.5"), "'--batch'"),
        (("--steps", "0"), "got steps 0"),
        (("--steps", "-3"), "got steps -3"),
        (("--max-grad-norm", "0"), "got max-grad-norm 0"),
        (("--max-grad-norm", "inf"), "got max-grad-norm inf"),
        (("--rate", "0"), "got learning-rate 0"),
        (("--rate", "nan"), "got learning-rate nan"),
        (("--batches", "20,x"), "got --sweep-batch-sizes 20,x"),
        (("--batches", "0"), "got --sweep-batch-sizes 0"),
        (("--batches", "20,201"), "got batch 201 out of 200 records"),
        (("--plan", "--batches", "201"), "201 out of 200 records"),
        (("--plan", "--curve"), "got --plan, which trains nothing, and --sweep-epsilon"),
        (("--plan", "--noise-multiplier", "0"), "got noise-multiplier 0"),
        (("--noise-multiplier", "1"), "without --plan"),
        (("--seed", "-1"), "--seed"),
        (("--require", "epsilon < 3"), "cannot be read"),
        (("--require", "epsilon(delta=nan) <= 3"), "delta=nan; expected a number strictly between 0 and 1"),
        (("--require", "epsilon(delta=1) <= 3"), "delta=1; expected a number strictly between 0 and 1"),
        (
            ("--plan", "--require", "epsilon(delta=1e-5) <= 1"),
            "got --plan, which trains nothing, and --require",
        ),
        (("--epsilon", "1e6"), "got epsilon 1000000.0; expected"),
        (("--model", "xray-cn"), "Did you mean xray-cnn?"),
        (("--data", "xray"), "Did you mean xrays?"),
    ],
)
def test_a_bad_value_is_one_message_and_a_usage_error(private, tmp_path, words, told):
    code, _, err = private("--out", "p", *words)
    assert code == ExitCode.USAGE
    assert told in " ".join(err.split())
    assert "Traceback" not in err
    assert not (tmp_path / "p").exists()


def interrupting(monkeypatch, step):
    """Ctrl-C at a step."""
    calls, real = [], ledger.Ledger.record

    def record(self, release):
        calls.append(release)
        if len(calls) == step:
            raise KeyboardInterrupt
        real(self, release)

    monkeypatch.setattr(ledger.Ledger, "record", record)
    return real


def test_ctrl_c_leaves_a_marked_partial_result_and_the_command_that_goes_on(private, monkeypatch):
    real = interrupting(monkeypatch, 4)
    code, out, err = private("--out", "p")
    assert code == ExitCode.INTERRUPTED
    assert "writing to p. To resume after an interruption: " in out
    assert "3 of 6 steps of private training are kept in p; to resume: " in " ".join(err.split())
    partial = result("p")
    assert partial.result.stop_reason == "interrupted after 3 of 6 steps"
    assert partial.result.plan.steps == 3
    assert partial.result.nonprivate_counts is None
    assert partial.notes[0] == "PARTIAL: interrupted after 3 of 6 steps"
    assert 0 < partial.result.plan.epsilon < 3
    monkeypatch.setattr(ledger.Ledger, "record", real)
    assert private("--out", "p")[0] == ExitCode.OK
    whole = result("p").result
    assert (whole.stop_reason, whole.plan.steps) == ("", 6)
    assert not Path("p/unfinished").exists()


def test_a_requirement_without_a_model_is_about_the_private_one(private):
    """As docs/requirements.md says, of accuracy and of epsilon."""
    code, _, err = private("--out", "p", "--require", "clean_accuracy >= 0", "--require", "epsilon <= 9")
    assert code == ExitCode.OK, err
    assert result("p").verdict.reason == "2 of 2 requirements passed"
    assert [one.primary for one in result("p").claims] == [True, True]


def name_of_records(folder):
    """What its result calls the records that epsilon protects."""
    (claim,) = [claim for claim in result(folder).claims if claim.name == "private:epsilon"]
    assert claim.bracket.lower.quantity == claim.bracket.upper.quantity
    return claim.bracket.quantity.data_hash


def test_nothing_in_a_run_folder_can_be_worked_out_of_the_records_by_those_who_have_them(
    private, small, monkeypatch
):
    real = interrupting(monkeypatch, 4)
    private("--out", "p")
    assert Path("p/unfinished/salt").stat().st_mode & 0o777 == 0o600
    partly = name_of_records("p")
    monkeypatch.setattr(ledger.Ledger, "record", real)
    assert private("--out", "p")[0] == private("--out", "q")[0] == ExitCode.OK
    assert name_of_records("p") == partly != name_of_records("q")
    hashed = load_data(str(small)).split("train").hash[:16].encode()
    kept = [path for path in Path("p").rglob("*") if path.is_file()]
    assert {path.name for path in kept} == {"result.json", "run.json", "private.safetensors"}
    assert not any(hashed in path.read_bytes() for path in kept)


@pytest.mark.usefixtures("measured_alone")
@pytest.mark.parametrize(("rare", "named"), [(1, False), (1, True), (10, False)])
def test_a_class_that_a_few_records_show_to_exist_is_told_to_their_owner_alone(
    private, small, call, tmp_path, rare, named
):
    with np.load(small) as found:
        arrays = dict(found)
    arrays["train_labels"][:rare] = 2
    if named:
        arrays["class_names"] = np.array(["normal", "pneumonia", "other"])
    np.savez("rare.npz", **arrays)
    (tmp_path / "wide.py").write_text(Path("net.py").read_text().replace("784, 2", "784, 3"))
    words = ("--data", "rare.npz", "--model", "wide.py:make", "--batch", 50, "--steps", 2)
    for verb, more in (("privatize", ()), ("audit", ("--canaries", 20))):
        code, out, _ = call(verb, *words, *more, "--out", verb)
        assert code == ExitCode.OK
        assert ("class 2 has 1 of 200 records" in out) == (rare == 1 and not named)
        assert "class 2 has" not in (Path(verb) / "result.json").read_text()
    assert "the number of classes" in " ".join(result("privatize").result.statement.assumptions)


def test_ctrl_c_before_the_first_step_leaves_no_result(private, monkeypatch):
    interrupting(monkeypatch, 1)
    assert private("--out", "p")[0] == ExitCode.INTERRUPTED
    assert not Path("p/result.json").exists()


@pytest.mark.parametrize("words", [("--epsilon", 2), ("--steps", 7), ("--batch", 40), ("--seed", 1)])
def test_another_run_does_not_go_on_from_it(private, monkeypatch, words):
    real = interrupting(monkeypatch, 4)
    private("--out", "p")
    monkeypatch.setattr(ledger.Ledger, "record", real)
    code, _, err = private("--out", "p", *words)
    assert code == ExitCode.USAGE
    assert "belongs to an unfinished private run of other settings" in err


KILLED = """
import os, signal, sys
from quintain.data import load_data
from quintain.dp.accounting import ledger
real, calls = ledger.Ledger.record, []
def record(self, release):
    real(self, release)
    calls.append(release)
    if len(calls) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
ledger.Ledger.record = record
from quintain.cli.main import app
app(sys.argv[2:])
"""


def test_a_run_killed_in_the_curve_goes_on_with_the_noise_that_it_would_have_had(
    private, small, tmp_path, ready
):
    (tmp_path / "killed.py").write_text(KILLED)
    words = ("privatize", "--data", small, *WORDS, "--batches", "20", "--out", "p")

    def killed(step):
        assert ready(tmp_path / "killed.py", step, *words, home=tmp_path).code == -signal.SIGKILL

    killed(3)
    shutil.copytree("p", "q")
    assert private("--batches", 20, "--out", "q")[0] == ExitCode.OK
    killed(8)
    assert not Path("p/unfinished/main/key").exists()
    assert Path("p/unfinished/batch-20/key").exists()
    assert private("--batches", 20, "--out", "p")[0] == ExitCode.OK
    assert weights("p") == weights("q")
    assert result("p").result.plan == result("q").result.plan
    assert not Path("p/unfinished").exists()


def test_a_finished_folder_is_not_trained_again(private, monkeypatch):
    assert private("--out", "p")[0] == ExitCode.OK
    monkeypatch.setattr("quintain.evaluate.steps.privatize.run_privatize", None)
    code, out, _ = private("--out", "p")
    assert code == ExitCode.OK
    assert "finished before: nothing was run" in out
    code, _, err = private("--out", "p", "--epsilon", 2)
    assert code == ExitCode.USAGE
    assert "--epsilon = " in err


def test_several_processes_are_refused_before_anything_is_done(private, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err = private("--out", "p")
    assert code == ExitCode.USAGE
    assert "quintain privatize runs in one process" in err
    assert not Path("p").exists()


@pytest.mark.parametrize("marked", [True, False])
def test_another_verb_does_not_go_on_in_the_folder_of_an_unfinished_run(
    private, call, small, weights_file, monkeypatch, marked
):
    interrupting(monkeypatch, 4)
    private("--out", "p")
    before = Path("p/result.json").read_bytes()
    if not marked:
        Path("p/unfinished/verb").unlink()
    words = ("--weights", weights_file, "--data", small, "--limit", 5, "--attack", "fgsm", "--out", "p")
    code, _, err = call("attack", *words)
    assert code == ExitCode.USAGE
    assert (
        f"holds an unfinished run of {'privatize' if marked else 'a command that it does not name'}, and "
        "this is quintain attack" in err
    )
    assert Path("p/result.json").read_bytes() == before


@pytest.mark.parametrize("width", [80, 120])
def test_epsilon_and_accuracy_stand_beside_the_bar(width):
    drawn = StringIO()
    bars = ProgressBars(Console(file=drawn, force_terminal=True, width=width, color_system=None))
    with bars.bar("private training", 276) as advance:
        advance(120)
        bars.set_status("epsilon 1.23, accuracy 81.2 %")
    assert "epsilon 1.23, accuracy 81.2 %" in drawn.getvalue()
