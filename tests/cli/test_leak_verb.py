"""``quintain leak``: attacks on a model by name or by what its access allows, beside what is claimed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quintain.core.errors import DataError, ExitCode
from quintain.core.files import sha256
from quintain.data import load_data
from quintain.evaluate.leaks import membership
from quintain.evaluate.leaks.goals import MEASURES
from quintain.evaluate.leaks.job import LeakFindings
from quintain.evaluate.steps import leaks
from quintain.results.codec import load
from tests.evaluate.support.leaks import found

BOX = """
import numpy as np

WEIGHTS = np.random.default_rng(0).normal(size=(784, 2))


def predict(x):
    return x.reshape(len(x), -1) @ WEIGHTS


def label(x):
    return predict(x).argmax(1)
"""
FEW = ("--budget", 40, "--candidates", 20, "--steps", 1)


@pytest.fixture
def brief_measures(monkeypatch):
    """What attacks find is drawn, and nothing is trained for it."""

    def measure(job):
        return LeakFindings(
            tuple(
                replace(found(attack), access=job.access or job.target.model.access) for attack in job.attacks
            )
        )

    monkeypatch.setattr("quintain.evaluate.steps.leaks.MEASURES", dict.fromkeys(MEASURES, measure))


@pytest.fixture
def box(call):
    """A black box of scores, and one of labels, in the folder of the call."""
    Path("box.py").write_text(BOX)
    return {
        access: f"{access}:box.py:{name}" for access, name in (("scores", "predict"), ("labels", "label"))
    }


def test_a_black_box_is_attacked_by_a_named_attack(call, box, small, brief_measures):
    code, out, err = call("leak", "knockoff", "--model", box["scores"], "--data", small, *FEW, "--out", "k")
    assert code == ExitCode.OK, err
    record = load(Path("k/result.json"))
    assert {one.attack for one in record.result.measurements} == {"knockoff"}
    assert "agreement (natural): LEAKS, knockoff has" in out
    assert call("report", "k")[0] == ExitCode.OK
    assert "Copies of the model" in Path("k/report.html").read_text()


def test_the_option_takes_names_too(call, box, small, brief_measures):
    given = ("--model", box["labels"], "--data", small, *FEW)
    code, _, err = call("leak", "--attack", "knockoff", *given, "--out", "k")
    assert code == ExitCode.OK, err
    assert {one.access for one in load(Path("k/result.json")).result.measurements} == {"labels"}


def hashes(out):
    """What a record calls the training examples: where it is from, and in each claim."""
    record = load(Path(out) / "result.json")
    return record.provenance.data.hash, {claim.bracket.quantity.data_hash for claim in record.claims}


def test_whoever_has_the_training_examples_cannot_work_out_their_hash(call, box, small, brief_measures):
    given = ("leak", "knockoff", "--model", box["scores"], "--data", small, *FEW)
    codes = [call(*given, "--out", out)[0] for out in ("a", "b")]
    assert codes == [ExitCode.OK] * 2
    plain = load_data(str(small)).split("train").hash
    assert not any(plain[:16].encode() in one.read_bytes() for one in Path("a").rglob("*") if one.is_file())
    assert not Path("a/unfinished").exists()
    (first, of_claims), (again, others) = hashes("a"), hashes("b")
    assert plain != first != again
    # each claim names the candidates too, under the same secret
    assert of_claims == {sha256(f"{first} natural".encode())}
    assert not of_claims & others
    # the same call finds its result, and two runs are compared as those of epsilon are
    code, out, err = call(*given, "--out", "a")
    assert code == ExitCode.OK, err
    assert "finished before: nothing was run" in out
    assert hashes("a") == (first, of_claims)
    code, out, err = call("compare", "a", "b")
    assert code == ExitCode.OK, err
    assert "differs" not in out


def test_more_access_than_the_model_gives_is_refused(call, box, small):
    given = ("--model", box["labels"], "--data", small, *FEW)
    code, _, err = call("leak", "knockoff", "--access", "scores", *given)
    assert code == ExitCode.USAGE
    assert "labels" in err


def test_more_access_than_a_black_box_gives_is_refused_before_any_work(call, box, small, monkeypatch):
    monkeypatch.setattr("quintain.evaluate.steps.leaks.run_leaks", None)
    for names in ((), ("loss-threshold",), ("inversion-gradient",)):
        given = ("--access", "gradients", "--model", box["scores"], "--data", small, *FEW, "--out", "g")
        code, _, err = call("leak", *names, *given)
        assert code == ExitCode.USAGE
        assert "gives scores alone" in err
        assert not Path("g").exists()
    given = ("--model", box["scores"], "--data", small, *FEW, "--out", "g")
    code, _, err = call("leak", "inversion-gradient", *given)
    assert code == ExitCode.USAGE
    assert "inversion-gradient needs gradients of the model; the attacker sees scores, all that" in err
    assert not Path("g").exists()


BROKEN = """
def train(net, data, seed):
    open("labels.csv")
"""


@pytest.mark.parametrize("names", [(), ("knockoff", "lira")])
def test_a_training_of_the_users_that_fails_is_an_error_and_what_was_found_is_shown(
    call, weights, small, brief_measures, monkeypatch, names
):
    Path("mine.py").write_text(BROKEN)
    measures = {**dict.fromkeys(MEASURES, leaks.MEASURES["agreement"]), "membership": membership.measure}
    monkeypatch.setattr(leaks, "MEASURES", measures)
    monkeypatch.setattr("quintain.leakage.shadow_models.os.cpu_count", lambda: 1)
    given = ("leak", *names, "--weights", weights, "--data", small, "--train", "mine.py:train", *FEW)
    code, out, err = call(*given, "--out", "l")
    assert code == ExitCode.EXECUTION
    assert "agreement (natural): LEAKS, knockoff has" in out
    assert "membership (lira) not done: mine.py, line 3: FileNotFoundError" in " ".join(out.split())
    assert "mine.py, line 3: FileNotFoundError" in err
    assert "once that is corrected, to resume: " in err
    record = load(Path("l/result.json"))
    assert record.verdict.exit_code == ExitCode.EXECUTION
    assert record.result.failure_reason
    # the corrected command goes on in the same folder
    Path("mine.py").write_text("def train(net, data, seed):\n    pass\n")
    monkeypatch.setattr(leaks, "MEASURES", {**measures, "membership": measures["agreement"]})
    code, _, err = call(*given, "--out", "l")
    assert code == ExitCode.OK, err
    assert not load(Path("l/result.json")).result.failure_reason
    assert call(*given[:1], "lira", *given[1 + len(names) :], "--out", "m")[0] == ExitCode.OK
    monkeypatch.setattr(leaks, "MEASURES", measures)
    Path("mine.py").write_text(BROKEN)
    code, _, err = call("leak", "lira", *given[1 + len(names) :], "--out", "n")
    assert code == ExitCode.EXECUTION
    assert "mine.py, line 3: FileNotFoundError" in err


IDLE = """
import torch
from quintain.models import xray_cnn


def train(data, seed):
    net = xray_cnn(seed=seed)
    with torch.no_grad():
        net[-1].weight.zero_()
    return net
"""


def test_shadow_models_of_a_training_that_returns_an_untrained_net_are_noted(
    call, weights, small, monkeypatch
):
    Path("mine.py").write_text(IDLE)
    monkeypatch.setattr("quintain.leakage.shadow_models.os.cpu_count", lambda: 1)
    given = ("--weights", weights, "--data", small, "--train", "mine.py:train", "--shadows", 4, *FEW)
    code, out, err = call("leak", "lira", *given, "--out", "s")
    assert code == ExitCode.OK, err
    said = "4 of 4 shadow models are not shown to have learned anything: on average they are right on"
    assert said in " ".join(out.split())
    assert any(said in note for note in load(Path("s/result.json")).notes)


def test_an_attack_on_updates_that_is_named_and_cannot_be_run_is_an_error(call, weights, small):
    given = ("--weights", weights, "--data", small, "--candidates", 4, "--steps", 1)
    code, _, err = call("leak", "dense-layer", *given, "--out", "d")
    assert code == ExitCode.EXECUTION
    assert "dense-layer does not work on this net: " in err
    assert "Take another attack on updates" in err
    Path("constant.py").write_text(CONSTANT)
    given = ("--model", "constant.py:make", "--data", small, "--candidates", 4, "--steps", 1)
    code, _, err = call("leak", "gradient-inversion", *given, "--out", "e")
    assert code == ExitCode.EXECUTION
    assert "gradient-inversion cannot be run here: in a plain update is nothing" in err
    assert not Path("e/result.json").exists()


def test_what_was_found_of_a_model_stays_where_its_updates_cannot_be_attacked(call, small, brief_measures):
    Path("constant.py").write_text(
        CONSTANT.replace("torch.nn.Linear(784, 2)", "torch.nn.Bilinear(784, 1, 2)")
    )
    given = ("--model", "constant.py:make", "--data", small, *FEW)
    code, out, err = call("leak", *given, "--out", "f")
    assert code == ExitCode.OK, err
    assert "agreement (natural): LEAKS, knockoff has" in out
    assert "pictures (gradient-inversion) not done: the net has no Linear layer" in " ".join(out.split())


CONSTANT = """
import torch


class Constant(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(784, 2)

    def forward(self, x):
        return 0 * self.layer(x.flatten(1), *self.beside(x))

    def beside(self, x):
        return [x.flatten(1)[:, :1]] if isinstance(self.layer, torch.nn.Bilinear) else []


def make(**_):
    torch.manual_seed(0)
    return Constant()
"""


def test_without_a_name_what_the_access_allows_is_run_and_the_rest_is_said(
    call, weights, small, brief_measures
):
    code, out, err = call("leak", "--weights", weights, "--data", small, *FEW, "--out", "l")
    assert code == ExitCode.OK, err
    record = load(Path("l/result.json"))
    assert "agreement" in {one.goal for one in record.result.measurements}
    assert len(record.result.reconstructions) == 3
    assert not list(Path("l").rglob("*.png"))
    assert out.splitlines()[0].startswith(("writing to l", "shown to leak", "no attack shows"))


def test_an_untrained_net_is_attacked_by_its_updates_alone(call, small):
    code, out, _ = call("leak", "--data", small, "--steps", 1, "--out", "l")
    assert code == ExitCode.OK
    assert "attacks on the model not done: the net has its first weights" in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("inconsistent-models",), "an attack of a malicious server on secure sums"),
        (("no-such-attack",), "no-such-attack"),
        (("knockoff", "--shadows", 5), "expected an even number"),
        (("knockoff", "--canaries", 1), "expected 0 for none, or at least 2"),
        (("knockoff", "--canaries", 4), "which say how"),
        (("knockoff", "--canaries", 4, "--epochs", 1, "--claim", 3), "without the privacy that is claimed"),
        (("canary-loss",), "canary-loss needs a second training, and nobody said how the model was"),
        (("canary-loss", "--epochs", 1, "--claim", 3), "canary-loss trains a second model, by --epochs 1"),
        (("inversion-scores",), "expected at least 3, each a person"),
        (("lira",), "needs shadow models, and nobody said how the model was trained"),
        (("knockoff", "--epochs", 2, "--train", "a.py:train"), "expected one of them"),
        (("knockoff", "--claim", 3, "--private", "p"), "expected one of them"),
        (("knockoff", "--delta", 1e-3), "got --delta 0.001 without --claim, whose delta it is"),
        (("knockoff", "--private", "p", "--delta", 1e-3), "the record of --private has its own"),
        (("attribute-posterior", "--attribute", "99:100,0:1"), "--attribute 99:100,0:1: "),
        (("attribute-posterior", "--attribute", "3:3,0:1"), "has images of 28 rows and 28 columns"),
        (("knockoff", "--claim", -1), "expected a finite number from 0 up"),
        (("knockoff", "--public", "nothing.npz"), "nothing.npz"),
        (("knockoff", "--train", "nothing.py:train"), "nothing.py"),
        (("knockoff", "--train", "train"), "expected path/to/file.py:function"),
    ],
)
def test_wrong_input_is_refused_in_one_line_before_any_folder_is_made(call, weights, small, words, told):
    code, _, err = call("leak", *words, "--weights", weights, "--data", small, *FEW, "--out", "w")
    assert code in (ExitCode.USAGE, ExitCode.EXECUTION)
    assert told in err
    assert "Traceback" not in err
    assert not Path("w").exists()


def test_the_record_of_another_model_is_no_claim_for_this_one(call, weights, small, brief_measures):
    given = ("--data", small, "--batch", 20, "--steps", 2)
    assert call("privatize", *given, "--out", "p")[0] == ExitCode.OK
    attack = ("leak", "knockoff", "--data", small, *FEW)
    code, _, err = call(*attack, "--weights", weights, "--private", "p")
    assert code == ExitCode.USAGE
    assert "is the record of another model" in err
    own = ("leak", "knockoff", *FEW, "--weights", "p/models/private.safetensors", "--private", "p")
    code, out, err = call(*own, "--data", small, "--out", "o")
    assert code == ExitCode.OK, err
    assert "nothing shows that" not in out
    with np.load(small) as arrays:
        parts = dict(arrays)
    np.savez("few.npz", **{**parts, **{name: parts[name][:100] for name in ("train_images", "train_labels")}})
    code, _, err = call(*own, "--data", "few.npz", "--out", "f")
    assert code == ExitCode.USAGE
    assert "--private p was trained on 200 records, and --data few.npz has 100 in its split train" in err
    np.savez("copy.npz", **{**parts, "train_labels": 1 - parts["train_labels"]})
    code, out, err = call(*own, "--data", "copy.npz", "--out", "c")
    assert code == ExitCode.OK, err
    assert "nothing shows that copy.npz is what the private model was trained on" in out
    code, _, err = call(*attack, "--weights", weights, "--private", "o")
    assert code == ExitCode.USAGE
    assert "holds no private training" in err


def test_what_was_found_of_the_model_is_kept_where_its_updates_cannot_be_attacked(
    call, weights, small, brief_measures, monkeypatch
):
    def refuses(*_given, **_words):
        raise DataError("nothing moves")

    monkeypatch.setattr("quintain.evaluate.steps.leak.run_leak", refuses)
    given = ("leak", "knockoff", "gradient-inversion", "--weights", weights, "--data", small, *FEW)
    code, out, err = call(*given, "--out", "l")
    assert code == ExitCode.EXECUTION
    assert "agreement (natural): LEAKS, knockoff has" in out
    assert "nothing moves. What was found so far is in l" in " ".join(err.split())
    record = load(Path("l/result.json"))
    assert record.verdict.exit_code == ExitCode.EXECUTION
    assert [one.what for one in record.not_done] == ["pictures (gradient-inversion)"]


def test_examples_that_were_trained_on_are_no_public_ones(call, box, small, tmp_path):
    with np.load(small) as arrays:
        np.savez("seen.npz", images=arrays["train_images"][:20], labels=arrays["train_labels"][:20])
    given = ("--model", box["scores"], "--data", small, *FEW)
    code, _, err = call("leak", "knockoff", *given, "--public", "seen.npz")
    assert code == ExitCode.EXECUTION
    assert "expected examples that the target never saw" in err


@pytest.fixture
def vectors(tmp_path):
    """Vectors of which the fourth number is called smoker, and a net of them; the labels are half of it."""
    rng = np.random.default_rng(0)
    x = rng.random((400, 6), dtype=np.float32)
    x[:, 3] = rng.integers(0, 2, 400)
    y = np.where(rng.random(400) < 0.8, x[:, 3], rng.integers(0, 2, 400)).astype(int)
    np.savez(
        tmp_path / "v.npz",
        train_images=x[:200],
        train_labels=y[:200],
        test_images=x[200:],
        test_labels=y[200:],
        feature_names=np.array(["age", "weight", "height", "smoker", "pulse", "sugar"]),
    )
    (tmp_path / "box.py").write_text(
        "import numpy as np\ndef predict(x):\n    return np.eye(2)[(x[:, 3] > 0.5) * 1]\n"
    )
    return "--model", "scores:box.py:predict", "--data", "v.npz", "--candidates", 50, "--budget", 20


def test_what_is_sensitive_is_named_by_its_place_or_its_name(call, vectors, monkeypatch):
    monkeypatch.setattr("quintain.leakage.attributes.imputer.STEPS", 20)
    for text, name in (("smoker", "smoker"), ("3", "feature 3")):
        code, out, err = call("leak", "attribute-posterior", *vectors, "--attribute", text, "--out", text)
        assert code == ExitCode.OK, err
        assert f"Attribute {name}: " in out
        record = load(Path(text) / "result.json")
        assert {one.goal for one in record.result.measurements} == {"attributes"}
        assert {one.candidates for one in record.result.measurements} >= {"members", "others"}


def test_where_something_is_sensitive_it_is_guessed_by_default(call, vectors, brief_measures):
    for given, goals in (((), False), (("--attribute", "smoker"), True)):
        code, out, err = call("leak", *vectors, *given, "--out", f"default-{goals}")
        assert code == ExitCode.OK, err
        found = load(Path(f"default-{goals}/result.json")).result.measurements
        assert ("attributes" in {one.goal for one in found}) is goals
        assert ("attributes not done: it needs to know what is sensitive; say what is" in out) is not goals


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("attribute-shadow",), "expected --attribute to say what"),
        (("loss-threshold", "--attribute", "3"), "which loss-threshold does not guess"),
        (
            ("attribute-shadow", "--attribute", "smoke"),
            "expected one of age, weight, height, smoker, pulse, sugar",
        ),
        (("attribute-shadow", "--attribute", "6"), "or a number from 0 to 5"),
        (("attribute-shadow", "--attribute", "0"), "has 400 values; expected 2 to 10"),
        (("attribute-shadow", "--attribute", "0:2,0:2"), "has no pixels but 6 numbers each"),
    ],
)
def test_nothing_else_can_be_sensitive(call, vectors, words, told):
    code, _, err = call("leak", *words, *vectors, "--out", "w")
    assert code in (ExitCode.USAGE, ExitCode.EXECUTION)
    assert told in err
    assert not Path("w").exists()


def test_a_name_of_two_numbers_is_no_name(call, vectors):
    with np.load("v.npz") as arrays:
        twice = {**arrays, "feature_names": np.array(["age", "smoker", "height", "smoker", "pulse", "sugar"])}
    np.savez("v.npz", **twice)
    code, _, err = call("leak", "attribute-shadow", "--attribute", "smoker", *vectors, "--out", "w")
    assert code == ExitCode.USAGE
    assert "--attribute smoker: feature_names of v.npz has this name for the numbers 1 and 3" in err


def test_a_black_box_is_not_told_to_say_how_it_was_trained(call, box, small):
    given = ("--model", box["scores"], "--data", small, *FEW, "--train", "mine.py:train", "--out", "w")
    Path("mine.py").write_text("def train(net, data, seed):\n    pass\n")
    code, _, err = call("leak", "lira", *given)
    assert code == ExitCode.USAGE
    assert "is a black box, of whose kind none can be trained; expected an attack that needs none" in err
    assert "--train" not in err


UNTRAINED = """
import torch


def make(num_classes, channels, size, **_):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(channels * size**2, num_classes))


def drawn(num_classes, channels, size, **_):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(channels * size**2, num_classes))
"""


@pytest.mark.parametrize(
    ("factory", "why"),
    [("make", "it is not better than the majority class"), ("drawn", "its weights differ by seed")],
)
def test_first_weights_are_said_to_be_no_trained_model(call, small, brief_measures, factory, why):
    Path("net.py").write_text(UNTRAINED)
    given = ("--model", f"net.py:{factory}", "--data", small, *FEW, "--out", "u")
    code, out, err = call("leak", "loss-threshold", *given)
    assert code == ExitCode.OK, err
    assert "was attacked without --weights and seems untrained" in out
    assert why in out
    assert any("seems untrained" in note for note in load(Path("u/result.json")).notes)


def test_trained_weights_are_not_said_to_be_first_ones(call, weights, small, brief_measures):
    given = ("--weights", weights, "--data", small, *FEW, "--out", "t")
    code, out, err = call("leak", "loss-threshold", *given)
    assert code == ExitCode.OK, err
    assert "seems untrained" not in out


def test_pixels_of_images_are_named_by_rows_and_columns(call, box, small):
    given = ("--model", box["scores"], "--data", small, *FEW, "--out", "w")
    code, _, err = call("leak", "attribute-shadow", *given, "--attribute", "3")
    assert code == ExitCode.USAGE
    assert "expected rows and columns of the pixels" in err
    code, _, err = call("leak", "attribute-shadow", *given, "--attribute", "0:2,0:2")
    assert code == ExitCode.EXECUTION
    assert "pixels 0:2,0:2 of" in err


def test_public_people_stand_for_other_people_alone(call, box, small, monkeypatch):
    seen = {}

    def look(job):
        seen[job.attacks[0].goal] = job
        return LeakFindings(tuple(map(found, job.attacks)))

    monkeypatch.setattr(leaks, "MEASURES", dict.fromkeys(MEASURES, look))
    with np.load(small) as arrays:
        np.savez("people.npz", images=arrays["val_images"], labels=arrays["val_labels"] + 2)
        np.savez("alike.npz", images=arrays["val_images"], labels=arrays["val_labels"])
    given = ("leak", "--model", box["scores"], "--data", small, *FEW)
    for name, others in (("people", 50), ("alike", 20)):
        code, _, err = call(*given, "--public", f"{name}.npz", "--out", name)
        assert code == ExitCode.OK, err
        assert len(seen["membership"].others) == len(seen["agreement"].others) == others
        assert len(seen["identity"].public) == 20
