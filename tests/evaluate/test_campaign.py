"""A run of attacks that is cut off, shared out, helped by proofs, budgeted or aimed: what stays, and what
comes out the same.
"""

import math
import shutil
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import quintain
from quintain.attacks import FAB, FGSM, PGD
from quintain.attacks.outcome import AttackOutcome
from quintain.certify import IntervalBounds
from quintain.core.errors import (
    DataError,
    ModelError,
    RunFolderError,
    SettingError,
    StorageError,
    UnknownNameError,
)
from quintain.core.registry import entries
from quintain.data.dataset import from_arrays
from quintain.evaluate.certify import certify_examples
from quintain.evaluate.evasion.attacks import run_attacks
from quintain.evaluate.evasion.checkpoint import Chunk, ChunkKey, ChunkStore, delete_chunks
from quintain.evaluate.evasion.defaults import attack, default_attacks, reference_attacks
from quintain.evaluate.evasion.merge import MAX_POINTS, correct_by_queries
from quintain.evaluate.evasion.shard import minimize_by_bisection
from quintain.evaluate.model import named_model
from quintain.evaluate.steps.attack import run_attack
from quintain.models.classifier import Classifier
from quintain.results.robustness_records import AttackedModel
from quintain.results.run_layout import UNFINISHED
from quintain.threats import L2, Linf, parse

SIZES = [Linf(0.02), Linf(0.05), Linf(0.1)]
ATTACKS = {"fgsm": FGSM(), "pgd": PGD(steps=8)}


def points(count=60):
    rng = np.random.default_rng(0)
    x = rng.random((count, 1, 3, 3)).astype(np.float32)
    return from_arrays(x, (x.mean((1, 2, 3)) > 0.5).astype(int), name="points")


@cache
def net():
    torch_net = nn.Sequential(nn.Flatten(), nn.Linear(9, 2)).eval()
    with torch.no_grad():
        torch_net[1].weight.copy_(torch.tensor([[-1.0] * 9, [1.0] * 9]) + torch.linspace(-0.3, 0.3, 9))
        torch_net[1].bias.copy_(torch.tensor([4.5, -4.5]))
    return torch_net


@cache
def subject():
    return named_model(Classifier(net(), num_classes=2), "tiny", "tiny model")


def run(subject_=None, data=None, threats=SIZES, attacks=ATTACKS, **words):
    return run_attacks(
        subject_ or subject(), data or points(), threats, attacks, **{"batch_size": 16, "seed": 3, **words}
    )


def timeless(found: AttackedModel) -> AttackedModel:
    return replace(found, rows=tuple(replace(row, seconds=0.0) for row in found.rows))


@dataclass
class Cut:
    """An attack that is cut off after some calls."""

    inner: object
    calls: int
    error: BaseException

    def __call__(self, *arguments, **words):
        self.calls -= 1
        if self.calls < 0:
            raise self.error
        return self.inner(*arguments, **words)

    def __repr__(self):
        return repr(self.inner)


def counted(made):
    """Attacks that write down each call, and are told as what they wrap."""

    @dataclass
    class Counting:
        inner: object

        def __call__(self, model, x, y, threat, **words):
            made.append((type(self.inner).__name__, threat.spec, words["ids"].tolist()))
            return self.inner(model, x, y, threat, **words)

        def __repr__(self):
            return repr(self.inner)

    return {name: Counting(one) for name, one in ATTACKS.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupted."""
    return run(folder=tmp_path_factory.mktemp("whole"), num_pictures=4)


@pytest.mark.parametrize("calls", [0, 1, 5, 11])
def test_an_interrupted_run_goes_on_where_it_was_and_comes_to_the_same(tmp_path, whole, calls):
    folder, place = tmp_path / "cut", tmp_path / "cut" / UNFINISHED
    attacks = {**ATTACKS, "pgd": Cut(ATTACKS["pgd"], calls, KeyboardInterrupt())}
    with pytest.raises(KeyboardInterrupt):
        run(attacks=attacks, folder=folder, num_pictures=4, checkpoint_dir=place)
    assert list(place.glob("*.npz"))
    made: list[tuple] = []
    again = run(attacks=counted(made), folder=folder, num_pictures=4, checkpoint_dir=place)
    assert timeless(again) == timeless(whole)
    assert sum(name == "PGD" for name, _, _ in made) == 12 - calls
    pictures = [picture.sha256 for row in whole.gallery for picture in row]
    assert pictures == [picture.sha256 for row in again.gallery for picture in row]
    delete_chunks(place)
    assert not place.exists()


@pytest.fixture(scope="module")
def plain():
    """A run that leaves nothing behind."""
    return run()


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """The pieces that a run keeps."""
    folder = tmp_path_factory.mktemp("pieces")
    run(checkpoint_dir=folder)
    return folder


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"seed": 4}, "seed = 3, now 4"),
        ({"batch_size": 8}, "batch_size = 16, now 8"),
        ({"max_queries": 9}, "max_queries = None, now 9"),
        ({"threats": SIZES[:2]}, "threats = "),
        ({"attacks": {"fgsm": FGSM(), "pgd": PGD(steps=9)}}, "steps=9"),
        ({"data": points(59)}, "data = "),
    ],
)
def test_pieces_of_other_settings_are_refused_by_the_difference(pieces, tmp_path, words, told):
    shutil.copytree(pieces, tmp_path / "p")
    with pytest.raises(RunFolderError, match="other settings") as error:
        run(**{"checkpoint_dir": tmp_path / "p", **words})
    assert told in str(error.value)


def test_damaged_pieces_and_settings_are_named(pieces, tmp_path):
    shutil.copytree(pieces, tmp_path, dirs_exist_ok=True)
    piece = sorted(tmp_path.glob("*.npz"))[0]
    piece.write_bytes(piece.read_bytes()[:100])
    with pytest.raises(RunFolderError, match="damaged; delete it"):
        run(checkpoint_dir=tmp_path)
    (tmp_path / "settings.json").write_text("[")
    with pytest.raises(RunFolderError, match="cannot be read"):
        run(checkpoint_dir=tmp_path)


def test_a_piece_survives_its_file_and_holds_no_pickle(tmp_path):
    piece = replace(
        Chunk.empty((1, 3, 3)),
        rows=np.array([3]),
        found_by=np.array(["ü"]),
        size=np.array([math.inf]),
        seconds=1.5,
    )
    store = ChunkStore(tmp_path, {"seed": 1})
    store.put(ChunkKey(0, "a", "linf:1/255"), piece)
    again = store.get(ChunkKey(0, "a", "linf:1/255"))
    assert (again.rows.tolist(), again.found_by.tolist(), again.size.tolist(), again.seconds) == (
        [3],
        ["ü"],
        [math.inf],
        1.5,
    )
    assert store.get(ChunkKey(1, "a", "linf:1/255")) is None
    assert store.get(ChunkKey(0, "b", "linf:1/255")) is None


class Mortal(nn.Module):
    """Dies after so many calls."""

    def __init__(self, calls):
        super().__init__()
        self.inner, self.calls = net(), calls

    def forward(self, x):
        self.calls -= 1
        if self.calls < 0:
            raise RuntimeError("connection lost")
        return self.inner(x)


def mortal(calls):
    found = named_model(Classifier(Mortal(calls).eval(), num_classes=2), "tiny", "tiny model")
    return replace(found, file=subject().file)


def test_a_model_that_dies_half_way_leaves_a_marked_result_that_a_living_one_completes(tmp_path):
    outcome = run_attack(mortal(20), points(), SIZES, ATTACKS, seed=3, folder=tmp_path)
    partial = outcome.result.models[0]
    assert "connection lost" in partial.stop_reason
    assert partial.num_unattacked > 0
    assert partial.diagnostics is None
    assert "stopped early" in outcome.notes[0]
    whole = run_attack(subject(), points(), SIZES, ATTACKS, seed=3, folder=tmp_path / "whole").result.models[
        0
    ]
    for part, row in zip(partial.rows, whole.rows, strict=True):
        assert part.unbroken_counts.num_correct >= row.unbroken_counts.num_correct
    again = run_attack(subject(), points(), SIZES, ATTACKS, seed=3, folder=tmp_path).result.models[0]
    assert timeless(again) == timeless(whole)
    assert (again.stop_reason, again.num_unattacked) == ("", 0)


def test_a_model_that_dies_before_anything_is_found_is_an_error(tmp_path):
    with pytest.raises(ModelError, match="connection lost"):
        run(mortal(4), checkpoint_dir=tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_a_full_disk_is_an_error_and_no_partial_result(pieces, tmp_path, monkeypatch):
    shutil.copytree(pieces, tmp_path / "p")
    monkeypatch.setattr(ChunkStore, "get", lambda *_: None)
    monkeypatch.setattr(ChunkStore, "put", lambda *_: (_ for _ in ()).throw(StorageError("full")))
    with pytest.raises(StorageError):
        run(checkpoint_dir=tmp_path / "p")


def test_proved_examples_are_left_alone_and_stand(plain):
    data = points()
    safe = certify_examples(subject(), data, SIZES, IntervalBounds(), method="interval bounds").examples
    made: list[tuple] = []
    found = run(attacks=counted(made), certified=safe)
    radius = dict(zip(safe.ids, safe.certified_radius, strict=True))
    assert any(radius.values())
    for _, token, ids in made:
        assert all(radius[one] < parse(token).eps for one in ids)
    assert found.examples == plain.examples
    assert [row.unbroken_counts for row in found.rows] == [row.unbroken_counts for row in plain.rows]
    proved = [radius[one] >= 0.1 for one in safe.ids]
    assert found.break_log.skipped_certified == tuple(proved)
    assert [asked for asked, left in zip(found.break_log.forwards, proved, strict=True) if left] == [0] * sum(
        proved
    )
    assert sum(found.break_log.forwards) < sum(plain.break_log.forwards)


def test_proofs_are_matched_by_id_and_only_where_they_did_not_fail():
    data = points()
    safe = certify_examples(subject(), data, SIZES, IntervalBounds(), method="interval bounds").examples
    order = np.random.default_rng(0).permutation(len(data))[:50]
    columns = {
        name: tuple(getattr(safe, name)[at] for at in order)
        for name in ("ids", "labels", "predicted", "certified_radius", "broken_radius")
    }
    failed = tuple(bool(at % 2) for at in order)
    found = run(certified=replace(safe, invalid=failed, **columns))
    expected = {int(at) for at in order if not at % 2 and safe.certified_radius[at] >= 0.1}
    assert {row for row, left in enumerate(found.break_log.skipped_certified) if left} == expected


def test_each_example_says_what_broke_it_after_how_many_questions(plain):
    breaks, examples = plain.break_log, plain.examples
    for row, radius in enumerate(examples.broken_radius):
        wrong = examples.predicted[row] != examples.labels[row]
        assert (breaks.found_by[row] == "unchanged") == wrong
        assert (breaks.found_by[row] != "") == (radius <= 0.1)
        assert (breaks.queries_to_success[row] > 0) == (0 < radius <= 0.1)
        assert breaks.queries_to_success[row] <= breaks.forwards[row]
        assert (breaks.forwards[row] == 0) == wrong
    for row in plain.rows:
        assert row.num_broken == row.correct_by_queries[0][1] - row.unbroken_counts.num_correct
        assert row.correct_by_queries[0] == (0, sum(map(int.__eq__, examples.predicted, examples.labels)))
        assert row.correct_by_queries[-1][1] == row.unbroken_counts.num_correct
        assert row.eps == parse(row.threat).eps
    assert "fgsm" in breaks.found_by


def test_the_curve_over_sizes_is_that_of_the_closed_form():
    weight = net()[1].weight.detach().diff(dim=0).squeeze().double()
    data = points()
    x, _y = data.batch(range(len(data)))
    lead = net()(x).detach().diff(dim=1).squeeze(1).double().abs()
    found = run(threats=[Linf(0.1)]).examples.broken_radius
    inside = [
        row
        for row, radius in enumerate(found)
        if 0 < radius < 0.1 and float(x[row].min()) > 0.1 and float(x[row].max()) < 0.9
    ]
    assert inside
    for row in inside:
        assert found[row] == pytest.approx(float(lead[row] / weight.abs().sum()), abs=0.1 / 2**10)


def test_bisection_finds_the_boundary_on_its_way_and_believes_no_point_that_it_did_not_ask():
    x, z = torch.zeros(2, 3), torch.tensor([[0.8, 0.0, 0.0], [0.4, 0.4, 0.4]])

    def model(points):
        return torch.stack(
            (torch.zeros(len(points)), points.sum(1) - 0.3, torch.full((len(points),), -9.0)), 1
        )

    y = torch.zeros(2, dtype=torch.long)
    assert minimize_by_bisection(model, x, y, z, Linf(1.0))[0].tolist() == pytest.approx(
        [0.3, 0.1], abs=0.81 / 2**10
    )
    assert minimize_by_bisection(model, x, y, z, L2(1.0))[0].tolist() == pytest.approx(
        [0.3, 0.1 * 3**0.5], abs=0.81 / 2**10
    )
    nothing, questions = minimize_by_bisection(model, x, y, z, Linf(1.0), targets=torch.tensor([2, 2]))
    assert nothing.tolist() == pytest.approx([0.8, 0.4])
    assert questions.tolist() == [2, 2]


def test_a_search_for_the_smallest_change_is_run_once_and_answers_for_every_size():
    found, grid = run(attacks={"fab": FAB()}), run(attacks={"pgd": PGD(steps=30)})
    assert [row.unbroken_counts for row in found.rows] == [row.unbroken_counts for row in grid.rows]
    assert [row.forwards > 0 for row in found.rows] == [False, False, True]


def test_a_budget_holds_for_each_attack_and_size():
    found = run(max_queries=3)
    assert max(found.break_log.forwards) <= 3 * len(SIZES) * len(ATTACKS)
    assert all(row.forwards <= 3 for row in found.rows)


def test_one_class_may_be_aimed_at_and_none_of_its_examples_may_be_there():
    data = points()
    with pytest.raises(DataError, match="leave them out"):
        run(target_class=1)
    others = data.subset(np.flatnonzero(data.labels == 0))
    found = run(data=others, target_class=1)
    assert found.target_class == 1
    assert found.examples == run(data=others).examples


def test_an_attack_that_cannot_do_what_is_asked_is_refused_before_any_work(tmp_path):
    threat = parse("negative")
    with pytest.raises(SettingError, match="does not support"):
        run(threats=[threat], attacks={"fgsm": FGSM()}, checkpoint_dir=tmp_path / "p")
    assert not (tmp_path / "p").exists()
    with pytest.raises(SettingError, match="one at a time"):
        run(threats=[parse("color:brightness=0.1"), parse("color:brightness=0.2")])


def test_no_change_breaks_nothing_and_is_no_reason_for_doubt():
    found = run(threats=[Linf(0.0)])
    assert {row.unbroken_counts.num_correct for row in found.rows} == {
        sum(map(int.__eq__, found.examples.predicted, found.examples.labels))
    }
    assert found.diagnostics.triggered == ()


def test_a_batch_in_which_all_are_wrong_already_is_no_work():
    x = points().batch(range(32))[0]
    labels = net()(x).argmax(1).numpy()
    labels[:16] = 1 - labels[:16]
    made: list[tuple] = []
    found = run(data=from_arrays(x.numpy(), labels, num_classes=2), attacks=counted(made))
    assert {one for _, _, ids in made for one in ids} == set(range(16, 32))
    assert found.break_log.found_by[:16] == ("unchanged",) * 16


def test_no_example_at_all_stands_to_be_attacked():
    x = points().batch(range(10))[0]
    labels = 1 - net()(x).argmax(1).numpy()
    found = run(data=from_arrays(x.numpy(), labels, num_classes=2))
    assert set(found.break_log.found_by) == {"unchanged"}
    assert all(row.forwards == row.unbroken_counts.num_correct == 0 for row in found.rows)
    assert found.diagnostics.num_probed == 0


def test_pictures_of_a_model_that_gives_labels_show_no_confidence(tmp_path):
    class Labels:
        name, num_classes, hash, num_parameters, device, dtype, access = (
            "m",
            2,
            "h",
            0,
            torch.device("cpu"),
            torch.float32,
            "labels",
        )

        def __call__(self, x):
            return nn.functional.one_hot(net()(x).argmax(1), 2).float()

    def walk(model, x, y, threat, *, seed=0, ids=None):
        return PGD(steps=8)(Classifier(net()), x, y, threat, seed=seed, ids=ids)

    rows = run(
        named_model(Labels(), "m", "m"), attacks={"walk": walk}, folder=tmp_path, num_pictures=2
    ).gallery
    assert len(rows) == 2
    assert all("%" not in picture.caption for row in rows for picture in row)
    shown = run(folder=tmp_path, num_pictures=2).gallery
    assert all("%" in row[0].caption and "x10" in row[1].caption and "%" in row[2].caption for row in shown)


def test_pictures_of_a_family_are_shown_like_those_of_a_ball(tmp_path):
    def shine(model, x, y, threat, *, seed=0, ids=None):
        params = threat.project(torch.ones_like(threat.identity(x)), x)
        z = threat.render(x, params)
        broken, none = model(z).argmax(1) != y, torch.zeros(len(x), dtype=torch.bool)
        many = torch.ones(len(x), dtype=torch.long)
        size = torch.where(broken, threat.measure(params, x), torch.inf)
        return AttackOutcome(z, broken, size, many, 0 * many, none, ("",) * len(x), many * broken, params)

    found = run(
        threats=[parse("color:brightness=0.4")], attacks={"shine": shine}, folder=tmp_path, num_pictures=2
    )
    assert len(found.gallery) == 2
    assert all(len(row) == 3 and (tmp_path / row[2].path).exists() for row in found.gallery)
    assert found.rows[0].eps == 1


@pytest.mark.parametrize(("found", "start"), [([], 5), ([3, 3, 7], 5), (range(1, 2000), 3000), ([1], 1)])
def test_the_curve_over_questions_falls_from_all_to_what_is_left(found, start):
    curve = correct_by_queries(list(found), start)
    assert curve[0] == (0, start)
    assert curve[-1][1] == start - len(list(found))
    assert len(curve) <= MAX_POINTS + 1
    assert all(a[0] < b[0] and a[1] > b[1] for a, b in pairwise(curve))
    assert all(left == start - sum(one <= asked for one in found) for asked, left in curve)


DEFAULTS = {
    ("gradients", "linf"): ("quick", "fmn"),
    ("gradients", "l2"): ("quick", "fmn"),
    ("gradients", "l1"): ("quick", "fmn"),
    ("gradients", "l0"): ("fmn",),
    ("gradients", "mask"): ("pgd",),
    ("gradients", "spatial"): ("pgd",),
    ("gradients", "negative"): ("random-search",),
    ("scores", "linf"): ("square",),
    ("scores", "l0"): ("one-pixel",),
    ("scores", "mask"): ("sparse-rs",),
    ("scores", "patch"): ("random-search",),
    ("labels", "linf"): ("hopskipjump",),
    ("labels", "l2"): ("hopskipjump",),
}


def test_trained_models_are_compared_by_one_attack_where_it_supports_the_threat():
    assert reference_attacks("linf") == reference_attacks("l2") == {"pgd": PGD()}
    assert list(reference_attacks("l0")) == ["fmn"]


def test_attacks_are_chosen_by_what_the_model_gives_and_what_may_be_changed():
    known = entries("attack")
    for access in ("gradients", "scores", "labels"):
        for kind in ("linf", "l2"):
            best, *more = default_attacks(access, kind)
            assert known[best].fact("access") == access
            assert kind in known[best].words("supports")
            assert all(known[name].fact("minimum_norm") == "yes" for name in more)
    assert {(access, kind): default_attacks(access, kind) for access, kind in DEFAULTS} == DEFAULTS
    with pytest.raises(SettingError, match="no registered attack serves nothing"):
        default_attacks("gradients", "nothing")


def test_one_call_attacks_with_the_quick_ensemble(monkeypatch):
    x, y = points().batch(range(20))
    asked = []

    def find(kind, name):
        asked.append((kind, name))
        return replace(entries("attack")["pgd"], name=name)

    monkeypatch.setattr("quintain.evaluate.evasion.defaults.get_entry", find)
    outcome = quintain.attack(subject().model, x, y, "linf:0.1", seed=2)
    assert asked == [("attack", "quick")]
    assert torch.equal(outcome.adversarial, PGD()(subject().model, x, y, Linf(0.1), seed=2).adversarial)
    assert torch.equal(attack(subject().model, x, y, Linf(0.1), seed=2).success, outcome.success)
    with pytest.raises(UnknownNameError):
        quintain.attack(subject().model, x, y, "lonf:0.1")
