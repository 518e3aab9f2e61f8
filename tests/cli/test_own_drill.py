"""``quintain drill`` on a model and data of one's own."""

from pathlib import Path

import numpy as np
import pytest
import torch

from quintain.core.errors import ExitCode
from quintain.core.seeds import derive_seed
from quintain.drill import Settings
from quintain.drill.pipeline import CPU
from quintain.drill.steps import attack
from quintain.drill.subject import Subject
from quintain.results.codec import decode, load
from quintain.results.records import DrillResult, SkippedResult
from quintain.results.robustness_records import AttackResult, ReplayResult, TrainResult
from tests.drill.own_models import write_files

OWN = ("--model", "nets.py:mlp", "--data", "table.npz", "--minutes", "60")


@pytest.fixture
def files(tmp_path):
    write_files(tmp_path)
    return tmp_path


def step_records(folder: Path) -> dict[str, bytes]:
    """Every record but that of the whole drill, whose steps are timed anew."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("0*-*.json"))}


def test_named_steps_are_done_with_those_that_they_need_and_a_second_start_repeats_the_answer(files, call):
    words = ("drill", *OWN, "--only", "attack,leak", "--out", "r")
    code, out, err = call(*words)
    assert (code, err) == (ExitCode.OK, "")
    before = step_records(files / "r")
    assert list(before) == ["02-train.json", "03-attack.json", "08-leak.json"]
    assert "robust accuracy of plain at linf:4/255: " in out
    assert "stickers not done: the data are no pictures" in out
    attacked = load(files / "r" / "03-attack.json")
    assert isinstance(attacked.result, AttackResult)
    sizes = [one.bracket.quantity.threat for one in attacked.claims]
    assert sizes == ["linf:2/255", "linf:4/255", "linf:8/255"]
    skipped = load(files / "r" / "08-leak.json").result
    assert isinstance(skipped, SkippedResult)
    assert "gray or RGB pictures are needed" in skipped.reason
    again, told, err = call(*words)
    assert (again, err) == (code, "")
    assert "robust accuracy of plain at linf:4/255: " in told
    assert step_records(files / "r") == before


def test_a_drill_that_was_cut_off_goes_on_in_another_process_with_the_same_sizes(files, ready):
    words = ("drill", *OWN, "--quick", "--only", "train,attack", "--out", "r")
    ready.quintain(*words, home=files)
    done, sizes = step_records(files / "r"), (files / "r" / "sizes.json").read_bytes()
    (files / "r" / "03-attack.json").unlink()
    (files / "r" / "12-drill.json").unlink()
    code, _, err = ready.quintain(*words, home=files)
    assert (code, err) == (ExitCode.OK, "")
    assert (files / "r" / "sizes.json").read_bytes() == sizes
    assert step_records(files / "r")["02-train.json"] == done["02-train.json"]
    again, first = load(files / "r" / "03-attack.json").result, decode(done["03-attack.json"]).result
    assert isinstance(again, AttackResult)
    assert isinstance(first, AttackResult)
    assert again.models[0].examples == first.models[0].examples


def test_another_model_is_replayed_on_what_the_attacks_of_a_drill_stored(files, call):
    words = ("drill", *OWN, "--quick", "--threat", "linf:0.1", "--only", "attack,certify", "--out", "r")
    code, _, err = call(*words)
    assert code == ExitCode.OK, err
    attacked = load(Path("r/03-attack.json"))
    assert isinstance(attacked.result, AttackResult)
    kept = attacked.result.models[0].adversarial
    assert kept is not None
    assert kept.num_stored > 0
    assert not Path("r/unfinished").exists()
    same = ("--model", "nets.py:mlp", "--weights", "r/models/plain.safetensors")
    code, out, err = call("replay", "r", *same, "--out", "s")
    assert code == ExitCode.OK, err
    assert "accuracy left by stored adversarial examples" in out
    replayed = load(Path("s/result.json"))
    assert isinstance(replayed.result, ReplayResult)
    assert replayed.provenance.data.hash == attacked.provenance.data.hash
    assert replayed.result.unbroken_ids == ()
    found = {one.bracket.quantity.threat: one.bracket.upper.value for one in replayed.claims}
    made = [one for one in load(Path("r/05-certify.json")).claims if one.name.startswith("plain:")]
    assert len(made) == 3
    assert all(found[one.bracket.quantity.threat] == one.bracket.upper.value for one in made)


def test_where_a_model_is_given_requirements_are_about_it_and_not_about_what_the_drill_trains(files, call):
    hidden = torch.zeros(16, 8)
    hidden[0, :2] = 1.0
    out = torch.zeros(2, 16)
    out[:, 0] = torch.tensor([1.0, -1.0])
    biases = {"0.bias": torch.zeros(16), "2.bias": torch.tensor([-1.0, 1.0])}
    torch.save({"0.weight": hidden, "2.weight": out, **biases}, "wrong.pt")  # its classes are exchanged
    asked = (
        "robust_accuracy(linf:2/255) >= 0.5",
        "robust_accuracy(linf:2/255, model=certified) >= 0.5",
        "clean_accuracy >= 0.5",
        "robust_accuracy(l2:0.25) >= 0",
        "epsilon(delta=1e-5) <= 3",
        "epsilon(delta=1e-5, model=private) <= 3",
    )
    words = ("drill", *OWN, "--quick", "--weights", "wrong.pt", "--out", "r", "--junit", "j.xml")
    steps = ("--only", "attack,harden,certify,privatize")
    code, out, err = call(*words, *steps, *(one for text in asked for one in ("--require", text)))
    assert code == ExitCode.FAILED, err
    whole = load(Path("r/12-drill.json")).result
    assert isinstance(whole, DrillResult)
    assert [(str(one.verdict.decision), one.model) for one in whole.requirements] == [
        ("FAIL", "given"),
        ("PASS", "certified"),
        ("FAIL", "given"),
        ("UNDECIDED", ""),
        ("UNDECIDED", ""),
        ("PASS", "private"),
    ]
    assert f"FAIL  {asked[0]}: model=given: between 0 and 0.0" in out
    assert f"PASS  {asked[1]}: model=certified: between " in out
    assert (
        f"UNDECIDED  {asked[4]}: no result for epsilon(delta=1e-5) of the model that this run is about" in out
    )
    assert "if that is meant, name it: model=smoothed" in out
    junit = Path("j.xml").read_text()
    assert 'message="model=given: between 0 and 0.0' in junit
    assert "model=given: between 0 and 0.0" in Path("r/report.html").read_text()


def test_a_drill_that_stored_no_adversarial_examples_is_not_replayed(files, call):
    assert call("drill", *OWN, "--only", "train", "--out", "t")[0] == ExitCode.OK
    code, _, err = call("replay", "t", "--model", "nets.py:mlp", "--weights", "t/models/plain.safetensors")
    assert code == ExitCode.USAGE
    assert "holds no adversarial examples" in err


def test_a_drill_that_is_cut_off_within_a_step_says_what_is_kept_of_it(files, call, monkeypatch):
    def stopping(*_args, **_words):
        raise KeyboardInterrupt("3 chunks (20 of 60 examples)")

    monkeypatch.setattr(attack, "run_attacks", stopping)
    code, _, err = call("drill", *OWN, "--only", "attack", "--out", "r")
    assert code == ExitCode.INTERRUPTED
    said = "finished steps and 3 chunks (20 of 60 examples) are kept in r; to resume: "
    assert said in " ".join(err.split())


def test_training_over_sites_or_privately_of_a_net_with_batch_norm_is_not_done_and_names_the_remedy(
    files, call
):
    own = ("--model", "nets.py:normed", "--data", "table.npz")
    code, out, _ = call("drill", *own, "--only", "privatize,federate", "--out", "r")
    assert code == ExitCode.UNDECIDED
    assert " ".join(out.split()).count("nothing was done") == 1
    needless = load(files / "r" / "02-train.json").result
    assert isinstance(needless, SkippedResult)
    assert needless.reason.startswith("only privatize needed it, which was not done: ")
    averaged = load(files / "r" / "09-federate.json").result
    assert isinstance(averaged, SkippedResult)
    assert "training changes the buffer '1.running_mean' (and 2 more)" in averaged.reason
    assert "ModuleValidator.fix(net)" in averaged.remedy
    skipped = load(files / "r" / "06-privatize.json").result
    assert isinstance(skipped, SkippedResult)
    assert "BatchNorm1d" in skipped.reason
    assert "ModuleValidator.fix(net)" in skipped.remedy
    assert "GroupNorm" in out
    whole = load(files / "r" / "12-drill.json").result
    assert isinstance(whole, DrillResult)
    assert whole.minutes == 20


@pytest.mark.parametrize(
    ("net", "data", "steps"),
    [
        pytest.param("one_logit", "binary", "check,attack", marks=pytest.mark.exhaustive),
        pytest.param("many_logits", "binary", "check,attack", marks=pytest.mark.exhaustive),
        ("faces", "faces", "check,attack,federate"),
    ],
)
def test_models_of_other_kinds_are_drilled_whole_and_drawn(files, call, net, data, steps):
    own = ("--model", f"nets.py:{net}", "--data", f"{data}.npz", "--minutes", "60", "--quick")
    code, out, err = call("drill", *own, "--only", steps, "--out", "r")
    assert (code, err) == (ExitCode.OK, "")
    assert "robust accuracy of plain at linf:4/255: " in out
    results = [load(path).result for path in sorted((files / "r").glob("0*-*.json"))]
    assert not any(isinstance(one, SkippedResult) for one in results)
    page = (files / "r" / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert ("of 40</td>" in page) == ("federate" in steps)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "missing.py:make", "--data", "table.npz"), "there is no file missing.py"),
        (("--model", "nets.py:mlp", "--data", "missing.npz"), "missing.npz"),
        (("--model", "nets.py:mlp", "--data", "table.npz", "--weights", "w.safetensors"), "w.safetensors"),
        (("--only", "atack,certify"), "no step of the drill is called 'atack'. Did you mean attack?"),
        (("--minutes", "0"), "got --minutes 0; expected a positive number"),
        (("--minutes", "-3"), "got --minutes -3; expected a positive number"),
        (("--epsilon", "0"), "got --epsilon 0; expected a positive number"),
        (("--threat", "linff:8/255"), "no threat is called 'linff'. Did you mean linf"),
        (("--clients", "1"), "--clients"),
        (("--require", "robust_accuracy(linf:3/255) >= 0.5"), "this run measures linf:2/255, linf:4/255"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else "",
)
def test_wrong_input_is_a_usage_error_of_one_line_and_leaves_no_folder(files, call, words, said):
    code, out, err = call("drill", *words)
    assert code == ExitCode.USAGE
    assert said in " ".join(err.split())
    assert "Traceback" not in err
    assert "writing to" not in out
    assert not (files / "runs").exists()


LOADS = """
import torch
from torch import nn


def make():
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 2)).eval()
    net.load_state_dict(torch.load("own.pt", weights_only=True))
    return net
"""


def test_a_finished_drill_does_not_answer_for_other_weights_that_the_factory_reads(call):
    Path("net.py").write_text(LOADS)
    labels = np.arange(80) % 2
    images = np.where(labels, 180, 60).astype(np.uint8)[:, None, None].repeat(28, 1).repeat(28, 2)
    np.savez("d.npz", test_images=images, test_labels=labels)

    def write(scale):
        weight = torch.stack((-torch.ones(784), torch.ones(784))) * scale
        torch.save({"1.weight": weight, "1.bias": 784 * scale * torch.tensor([0.55, -0.55])}, "own.pt")

    write(1.0)
    words = ("drill", "--model", "net.py:make", "--data", "d.npz", "--only", "train", "--out", "r")
    code, _, err = call(*words)
    assert code == ExitCode.OK, err
    record = load(Path("r/02-train.json")).result
    assert record.training.settings == "as net.py:make gives it"
    assert call(*words)[0] == ExitCode.OK
    write(2.0)
    code, _, err = call(*words)
    assert code == ExitCode.USAGE
    assert "r holds steps on another model than net.py:make gives now" in " ".join(err.split())


FACTORIES = """
import torch
from torch import nn


def right(noise, sign=1):
    net = nn.Linear(8, 2)
    with torch.no_grad():
        net.weight.mul_(noise)
        net.bias.mul_(noise)
        net.weight[1, :2] += 10 * sign
        net.bias[1] -= 10 * sign
    return net


def trained():
    return right(0)


def training():
    return right(0.01)


def lucky(seed):
    return right(0.01, 1 if seed in LUCKY else -1)
"""
"""Factories of nets for ``table.npz``: trained weights, such as it trains by a seed, first ones with luck."""


@pytest.fixture
def factories(files):
    """The seeds with luck are that of the drill and that of the net that it takes for the user's."""
    seeds = (0, derive_seed(0, "drill", "net", "plain"))
    (files / "drawn.py").write_text(FACTORIES.replace("LUCKY", str(seeds)))
    return lambda name: ("--model", f"drawn.py:{name}", "--data", "table.npz", "--minutes", "60", "--quick")


@pytest.mark.parametrize("factory", ["trained", "training", "lucky"])
def test_weights_that_a_factory_draws_anew_are_not_trained_however_right(files, call, factories, factory):
    code, _, err = call("drill", *factories(factory), "--only", "train", "--out", "r")
    assert code == ExitCode.OK, err
    found = load(files / "r" / "02-train.json").result
    assert isinstance(found, TrainResult)
    # a given model has no file of weights in the run folder
    assert bool(found.training.model.path) == (factory != "trained")


@pytest.mark.parametrize(("factory", "is_refused"), [("trained", True), ("training", True), ("lucky", False)])
@pytest.mark.usefixtures("factories")
def test_weights_that_may_rest_on_the_records_are_refused_and_lucky_ones_are_not(files, factory, is_refused):
    subject = Subject(Settings(model=f"{files}/drawn.py:{factory}", data=f"{files}/table.npz"), CPU)
    assert subject.factory_has_learned == is_refused


MIXING = """
from torch import nn


class Mixing(nn.Linear):
    def __init__(self):
        super().__init__(8, 2)

    def forward(self, x):
        z = super().forward(x)
        return z - z.mean(0)
"""
"""A net whose outputs depend on the batch."""


def test_a_drill_that_ends_with_an_error_says_why_in_its_last_lines(files, call):
    (files / "mixing.py").write_text(MIXING)
    words = ("drill", "--model", "mixing.py:Mixing", "--data", "table.npz", "--only", "check", "--out", "r")
    code, out, _ = call(*words)
    assert code == ExitCode.EXECUTION
    assert out.splitlines()[-2] == "EXECUTION: errors were found in batches"
