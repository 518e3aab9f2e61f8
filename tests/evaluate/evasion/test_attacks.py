"""A run of attacks that is helped by proofs or aimed: what stays, and what comes out the same."""

from dataclasses import replace

import numpy as np
import pytest

from quintain.attacks import FGSM
from quintain.certify import IntervalBounds
from quintain.core.errors import DataError, SettingError
from quintain.data.dataset import from_arrays
from quintain.evaluate.certify import certify_examples
from quintain.threats import Linf, parse
from tests.evaluate.support.attacked import SIZES, counted, net, points, run, subject


@pytest.fixture(scope="module")
def plain():
    """A run that leaves nothing behind."""
    return run()


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


def test_where_all_is_certified_nothing_is_attacked_and_nothing_judged():
    data = points()
    safe = certify_examples(subject(), data, SIZES, IntervalBounds(), method="interval bounds").examples
    made: list[tuple] = []
    found = run(attacks=counted(made), certified=replace(safe, certified_radius=(1.0,) * len(data)))
    assert made == []
    assert sum(found.break_log.forwards) == 0
    assert found.diagnostics.summary == "not judged: no example was attacked, since each is certified"
    rest = run(certified=safe)
    radii = dict(zip(safe.ids, safe.certified_radius, strict=True))
    correct = np.array(rest.examples.predicted) == np.array(rest.examples.labels)
    assert rest.diagnostics.num_probed == sum(
        radii[row] < SIZES[-1].eps for row in rest.examples.ids if correct[row]
    )


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


def test_no_example_at_all_stands_to_be_attacked():
    x = points().batch(range(10))[0]
    labels = 1 - net()(x).argmax(1).numpy()
    found = run(data=from_arrays(x.numpy(), labels, num_classes=2))
    assert set(found.break_log.found_by) == {"unchanged"}
    assert all(row.forwards == row.unbroken_counts.num_correct == 0 for row in found.rows)
    assert found.diagnostics.num_probed == 0
