"""Another model on stored adversarial examples: what it may claim, and what is refused."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from quintain.attacks import DDN, PGD
from quintain.core.errors import RunFolderError
from quintain.core.files import sha256_file
from quintain.data.dataset import from_arrays
from quintain.evaluate.evasion.adversarial import open_adversarial
from quintain.evaluate.model import named_model
from quintain.evaluate.steps.replay import run_replay
from quintain.models.classifier import Classifier
from quintain.report import summary_lines
from quintain.results.literals import REPLAY_OF, UNCHANGED
from quintain.results.quantity import Basis, Metric
from quintain.threats import L2, Linf, parse
from tests.evaluate.support.attacked import ATTACKS, SIZES, net, points, run, subject
from tests.report.support.sample import record


def attack(folder, **words):
    found = run(folder=folder, checkpoint_dir=folder / "unfinished", **words)
    return folder / found.adversarial.path, found


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The path of what two attacks at three sizes found, and what they said."""
    return attack(tmp_path_factory.mktemp("run"))


def replay(path, model=None, data=None):
    with open_adversarial(path, sha256_file(path)) as opened:
        return run_replay(model or subject(), data or points(), opened, source=Path("runs/first"))


def other(shift=0.0, scale=1.0):
    """The net with another bias and another scale of its first weights."""
    changed = copy.deepcopy(net())
    with torch.no_grad():
        changed[1].bias += torch.tensor([shift, -shift])
        changed[1].weight[:, :3] *= scale
    return named_model(Classifier(changed, num_classes=2), "other", "another model")


def test_the_accuracy_that_each_attack_leaves_is_said_with_its_name(stored):
    path, found = stored
    (line, *_) = summary_lines(record(replay(path).result))
    for row in found.rows:
        assert f"{row.threat} {row.attack} " in line


def test_the_same_model_is_broken_as_it_was(stored):
    path, found = stored
    output = replay(path)
    assert output.result.unbroken_ids == ()
    broken = [row for row, size in enumerate(found.examples.broken_radius) if 0 < size < math.inf]
    assert list(output.result.broken_ids) == broken
    for row in output.result.rows:
        assert row.num_stored == row.num_correct == row.num_broken > 0
    for row, before in zip(output.result.attacked.rows, found.rows, strict=True):
        assert (row.attack, row.threat) == (f"{REPLAY_OF}{before.attack}", before.threat)
        assert row.unbroken_counts == before.unbroken_counts
    assert "the very model that they were made on" in output.notes[0]


def test_another_model_gets_an_upper_bound_that_is_counted_by_hand(stored):
    path, found = stored
    model = other(0.05, 1.4).model
    output = replay(path, other(0.05, 1.4))
    x, y = points().batch(range(60))
    correct = model.predict(x) == y
    with open_adversarial(path, sha256_file(path)) as opened:
        (every,) = opened.batches(1000)
    hit = (model.predict(every.x_adv) != every.labels) & correct[every.ids]
    for threat in SIZES:
        broken = {
            int(row)
            for row, size in zip(every.ids[hit], every.distance[hit], strict=True)
            if size <= threat.eps
        }
        left = int(correct.sum()) - len(broken)
        (claim,) = [one for one in output.claims if one.bracket.quantity.threat == threat.spec]
        assert claim.bracket.upper.evidence.hits == left
        assert claim.bracket.upper.basis is Basis.WITNESS
        assert claim.bracket.lower.basis is Basis.TRIVIAL
        assert claim.bracket.quantity.subject_hash == model.hash
    assert 0 < len(output.result.broken_ids) < len(set(every.ids.tolist()))
    assert output.result.unbroken_ids
    assert set(output.result.broken_ids) == {int(row) for row in every.ids[hit]}
    assert all(found.examples.broken_radius[row] > 0 for row in output.result.broken_ids)
    assert "quintain attack on this very model may leave less" in output.notes[0]


def test_what_is_wrong_unchanged_is_broken_without_any_stored_example(stored):
    output = replay(stored[0], other(9.0))
    examples = output.result.attacked.examples
    wrong = [row for row in range(60) if examples.predicted[row] != examples.labels[row]]
    assert wrong
    assert {examples.broken_radius[row] for row in wrong} == {0.0}
    assert {output.result.attacked.break_log.found_by[row] for row in wrong} == {UNCHANGED}
    clean = next(one for one in output.claims if one.bracket.quantity.metric is Metric.CLEAN_ACCURACY)
    assert clean.bracket.upper.value == (60 - len(wrong)) / 60


def test_a_break_must_show_twice_and_a_model_that_wavers_is_told_of(stored):
    calls = []

    class Wavering:
        access, name, num_classes, hash, num_parameters = "scores", "w", 2, subject().file.model_hash, 0
        device, dtype = torch.device("cpu"), torch.float32

        def __call__(self, x):
            calls.append(len(x))
            logits = subject().model(x).clone()
            return logits if len(calls) % 2 else logits.flip(1)

        def predict(self, x):
            return self(x).argmax(1)

    output = replay(stored[0], named_model(Wavering(), "w", "wavering"))
    assert output.result.broken_ids == ()
    assert output.result.unbroken_ids
    assert "its outputs differ from call to call" in output.notes[1]


def test_nan_is_no_break_and_is_counted(stored):
    class Lost:
        access, name, num_classes, hash, num_parameters = "scores", "n", 2, "n", 0
        device, dtype = torch.device("cpu"), torch.float32

        def __call__(self, x):
            logits = subject().model(x).clone()
            same = (points().batch(range(60))[0][None] == x[:, None]).flatten(2).all(2).any(1)
            logits[~same] = math.nan
            return logits

        def predict(self, x):
            return self(x).argmax(1)

    output = replay(stored[0], named_model(Lost(), "n", "lost"))
    examples = output.result.attacked.examples
    assert any(examples.invalid)
    assert output.result.broken_ids == ()
    assert max(claim.bracket.num_invalid for claim in output.claims) == sum(examples.invalid)


@pytest.mark.parametrize(
    ("threats", "attacks"),
    [
        ([L2(0.3), L2(0.6)], {"ddn": DDN()}),
        ([parse("color:brightness=0.3")], {"pgd": PGD(steps=8)}),
    ],
    ids=["smallest change", "parameters"],
)
def test_every_kind_of_threat_is_checked_and_replayed(tmp_path, threats, attacks):
    path, found = attack(tmp_path, threats=threats, attacks=attacks)
    output = replay(path)
    assert output.result.unbroken_ids == ()
    assert sum(row.num_broken for row in output.result.rows) == found.adversarial.num_stored > 0
    if len(threats) > 1:
        uppers = [one.bracket.upper.value for one in output.claims[1:]]
        assert uppers[0] > uppers[1]
        assert uppers == [
            np.mean([radius > threat.eps for radius in found.examples.broken_radius]) for threat in threats
        ]


def test_a_target_stays_the_target(tmp_path):
    x, y = points().batch(range(60))
    keep = (y == 0).numpy()
    data = from_arrays(x.numpy()[keep], y.numpy()[keep], num_classes=2, name="zeros")
    path, _ = attack(tmp_path, data=data, target_class=1)
    output = replay(path, data=data)
    assert output.result.attacked.target_class == 1
    assert output.result.unbroken_ids == ()
    assert "only the prediction 1 counts as a break" in output.notes[-1]


def test_other_data_are_refused(stored):
    with pytest.raises(RunFolderError, match=r"give the data that were attacked, with --data"):
        replay(stored[0], data=points(59))


def test_a_stored_example_outside_its_threat_is_refused(tmp_path):
    path, _ = attack(tmp_path, threats=[Linf(0.1)], attacks={"pgd": ATTACKS["pgd"]})
    data = bytearray(path.read_bytes())
    with open_adversarial(path, sha256_file(path)) as opened:
        many = len(opened)
    start = len(data) - 4 * 9 * many  # the inputs come last
    first = np.frombuffer(data[start : start + 4], np.float32)[0]
    data[start : start + 4] = np.float32(0.0 if first > 0.5 else 1.0).tobytes()
    path.write_bytes(data)
    with pytest.raises(RunFolderError, match=r"1 stored examples lie outside linf:0\.1"):
        replay(path)
