import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import DataError, SettingError
from quintain.data.dataset import from_arrays
from quintain.evaluate.leaks.goals import MEASURES
from quintain.evaluate.leaks.job import LeakJob, LeakTarget, TargetTraining
from quintain.evaluate.leaks.membership import run_trial
from quintain.evaluate.leaks.membership_trial import MISLABELED, NATURAL, draw_for_target, own_target
from quintain.leakage.judges.membership import ADVANTAGE, AUC, name_of_rate
from quintain.leakage.membership.label_only import LabelOnly
from quintain.leakage.membership.lira import LiRA
from quintain.leakage.membership.lira_offline import OfflineLiRA
from quintain.leakage.membership.loss_threshold import LossThreshold
from quintain.models.classifier import Classifier
from quintain.results.quantity import Metric
from quintain.training import Recipe, fit


def examples(count, seed, classes=2):
    rng = np.random.default_rng(seed)
    return from_arrays(rng.random((count, 6, 6), dtype=np.float32), rng.integers(0, classes, count))


def build(seed):
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 64), nn.ReLU(), nn.Linear(64, 2))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.uniform_(-0.17, 0.17, generator=generator)
    return net


def memorize(net, data, seed):
    fit(net, data, Recipe(epochs=60, batch_size=16, learning_rate=0.01), seed=seed)


def ignore(net, data, seed):
    """Train nothing, as a perfectly private recipe."""
    net.eval()


def target_on(members, train=memorize, **claims):
    net = build(9)
    train(net, members, 9)
    return LeakTarget(Classifier(net, num_classes=2), "plain", build, train, **claims)


def by_measure(findings, attack, group=NATURAL):
    return {
        one.measure: one for one in findings.measurements if one.attack == attack and one.candidates == group
    }


@pytest.mark.exhaustive
def test_a_model_that_knows_labels_by_heart_tells_its_members():
    members, others = examples(60, 0), examples(120, 1)
    job = LeakJob(
        target_on(members), [LossThreshold(), LiRA(), OfflineLiRA()], members, others, shadows=4, workers=1
    )
    findings = MEASURES["membership"](job)
    for attack in ("loss-threshold", "lira", "lira-offline"):
        found = by_measure(findings, attack)
        assert set(found) == {AUC, ADVANTAGE, name_of_rate(0.001), name_of_rate(0.01)}
        assert found[AUC].low > 0.5
        assert found[AUC].count == 120
        assert found[AUC].ceiling is None
    found = by_measure(findings, "lira")
    assert found[name_of_rate(0.01)].metric is Metric.MEMBERSHIP_TPR
    assert found[name_of_rate(0.01)].fpr == 0.01
    assert found[ADVANTAGE].metric is Metric.MEMBERSHIP_ADVANTAGE
    assert 0 < found[ADVANTAGE].lower.at(0.95, 0.0) <= found[ADVANTAGE].value
    assert found[AUC].metric is None
    exposed = found[AUC].exposed

    assert set(exposed) <= set(range(60))
    assert any("too few to show a leak by TPR at 0.1 % FPR" in note for note in findings.notes)


def test_labels_alone_are_held_against_what_needs_no_access_and_one_query_each_is_said_beside():
    members, others = examples(60, 0), examples(120, 1)
    findings = MEASURES["membership"](LeakJob(target_on(members), [LabelOnly(queries=4)], members, others))
    found = by_measure(findings, "label-only")
    # whoever is predicted right is told by asking the model: that is an attack, and no baseline
    assert {one.baseline_name for one in found.values()} == {"guessing"}
    assert found[ADVANTAGE].baseline == 0 < found[ADVANTAGE].low
    assert found[AUC].baseline == 0.5 < found[AUC].low
    (said,) = (note for note in findings.notes if "whoever is predicted right" in note)
    assert said.startswith("natural: ")
    assert "by one query each: membership advantage" in said


def test_a_model_that_never_saw_the_data_tells_nothing():
    members, others = examples(60, 0), examples(120, 1)
    job = LeakJob(
        target_on(members, ignore, epsilon=0.0, delta=0.0),
        [LossThreshold(), LiRA(), OfflineLiRA()],
        members,
        others,
        shadows=4,
        workers=1,
        seed=1,
    )
    for one in MEASURES["membership"](job).measurements:
        assert one.low - 1e-9 <= max(one.baseline, 0.0)
        assert one.low <= one.ceiling


def test_canaries_of_a_training_of_its_own_are_judged_apart():
    trial = own_target(TargetTraining("own", build, memorize), examples(80, 0), None, canaries=30)
    assert {name: len(rows) for name, rows in trial.groups.items()} == {MISLABELED: 30, NATURAL: 50}
    for rows in trial.groups.values():
        assert trial.is_member[rows].sum() == len(rows) // 2
    wrong = trial.pool.labels != examples(80, 0).labels
    assert np.array_equal(np.flatnonzero(wrong), trial.groups[MISLABELED])
    findings = run_trial(trial, [LiRA()], shadows=4, workers=1)
    assert by_measure(findings, "lira", MISLABELED)[AUC].value > 0.7


def test_a_job_with_canaries_measures_both():
    members, others = examples(60, 0), examples(120, 1)
    job = LeakJob(target_on(members), [LossThreshold()], members, others, canaries=99)
    findings = MEASURES["membership"](job)
    assert {one.model for one in findings.measurements} == {
        "plain",
        "plain, retrained with canaries",
    }
    assert by_measure(findings, "loss-threshold", MISLABELED)[AUC].count == 6


def test_candidates_are_as_many_members_as_others_and_shadows_are_as_large_as_the_target():
    members, others = examples(50, 0), examples(40, 1)
    trial = draw_for_target(target_on(members, ignore), members, others, candidates=30, seed=0)
    assert trial.is_member.sum() == 20
    assert len(trial.pool) == 40
    assert len(trial.public) == 20
    assert trial.train_shadows(count=2, seed=0, workers=1).train_size == 50


def test_others_that_are_members_are_left_out_and_many_are_refused():
    members, others = examples(60, 0), examples(60, 1)
    x, y = (
        np.concatenate([others.batch(torch.arange(60))[0].numpy(), members.batch([3])[0].numpy()]),
        np.concatenate([others.labels, members.labels[3:4]]),
    )
    trial = draw_for_target(target_on(members, ignore), members, from_arrays(x, y), candidates=99, seed=0)
    assert "1 examples of arrays are also members, and are left out" in trial.notes
    with pytest.raises(DataError, match="60 of 60 examples of arrays are also in arrays"):
        draw_for_target(target_on(members, ignore), members, members, candidates=99, seed=0)


def test_near_duplicates_are_noted():
    members = examples(60, 0)
    x = members.batch(torch.arange(60))[0].numpy()
    others = from_arrays(np.clip(x + 0.005, 0, 1), members.labels)
    trial = draw_for_target(target_on(members, ignore), members, others, candidates=99, seed=0)
    assert "30 of 30 members have nearly the same example among the others" in trial.notes[0]


def test_other_shares_of_classes_are_noted():
    members, others = examples(200, 0), examples(400, 1)
    trial = draw_for_target(target_on(members, ignore), members, others, candidates=999, seed=0)
    assert trial.notes == ()
    x = others.batch(torch.arange(400))[0].numpy()
    turned = from_arrays(x, (np.arange(400) % 4 == 0).astype(int))
    trial = draw_for_target(target_on(members, ignore), members, turned, candidates=999, seed=0)
    assert "a guess by the class alone, without the model, has an advantage of 0.2" in trial.notes[0]


def test_examples_of_one_class_are_measured():
    members = from_arrays(examples(60, 0).batch(torch.arange(60))[0].numpy(), np.zeros(60, dtype=int))
    others = from_arrays(examples(60, 1).batch(torch.arange(60))[0].numpy(), np.zeros(60, dtype=int))
    job = LeakJob(target_on(members, ignore), [LossThreshold()], members, others)
    assert MEASURES["membership"](job).measurements


def test_pictures_of_other_sizes_too_few_others_and_access_are_refused():
    members, others = examples(60, 0), examples(60, 1)
    target = target_on(members, ignore)
    wide = from_arrays(np.random.default_rng(0).random((60, 7, 7), dtype=np.float32), np.zeros(60, dtype=int))
    with pytest.raises(DataError, match="expected equal ones"):
        draw_for_target(target, members, wide, candidates=99, seed=0)
    with pytest.raises(DataError, match="expected at least 2 members and 4 others"):
        draw_for_target(target, members, others.subset([0, 1, 2]), candidates=99, seed=0)
    with pytest.raises(SettingError, match="needs scores and the attacker has labels"):
        MEASURES["membership"](LeakJob(target, [LossThreshold()], members, others, access="labels"))
    unknown = LeakTarget(target.model, "unknown")
    with pytest.raises(SettingError, match="how unknown was trained is not known"):
        MEASURES["membership"](LeakJob(unknown, [LiRA()], members, others))


def test_repeated_examples_are_one_candidate_each():
    members, others = examples(20, 0), examples(60, 1)
    x, y = members.batch(torch.arange(20).repeat(3))
    repeated = from_arrays(x.numpy(), y.numpy())
    trial = draw_for_target(target_on(repeated, ignore), repeated, others, candidates=99, seed=0)
    assert trial.is_member.sum() == 20
    assert len(np.unique(trial.numbers[trial.is_member] % 20)) == 20
    assert len(trial.rest) == 40
    assert any(note.startswith("40 examples of arrays and arrays are repeated") for note in trial.notes)
