"""Attacks on what a model gives away, goal by goal, as one record with brackets from both sides."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import DataError, ExitCode, SettingError, TrainingFailedError
from quintain.core.statistics import binomial_lower
from quintain.data import from_arrays
from quintain.evaluate.images import store_picture
from quintain.evaluate.leaks.choice import GOALS, OTHER_EXAMPLES, default_leaks
from quintain.evaluate.leaks.claims import count_levels
from quintain.evaluate.leaks.guarantee import PrivacyGuarantee
from quintain.evaluate.leaks.job import LeakFindings, LeakTarget
from quintain.evaluate.leaks.trainers import UserTrainer
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps import leaks
from quintain.evaluate.steps.leaks import LeakPlan, check_leaks, merge_leaks, run_leaks
from quintain.models.classifier import Classifier
from quintain.results.bounds import Consistency
from quintain.results.gate import judge
from quintain.results.leak_records import LeakPictures
from quintain.results.privacy_records import LeakResult, Reconstruction
from quintain.results.quantity import Basis, Metric
from quintain.results.verdict import Decision
from tests.evaluate.support.leaks import found


@dataclass(frozen=True)
class Toy:
    """Guesses nothing: the measure of its goal says what it found."""

    kind: ClassVar[str] = "leak"
    summary: ClassVar[str] = "nothing"
    guarantee: ClassVar[str] = ""
    access: ClassVar[str] = "scores"
    needs: ClassVar[tuple[str, ...]] = ()
    default_rank: ClassVar[int] = 1
    goal: str = "membership"
    name: str = "toy"


@pytest.fixture
def plan():
    """A target that knows nothing, with some data."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    rng = np.random.default_rng(0)
    members, others = (
        from_arrays(rng.random((20, 4, 4)).astype(np.float32), np.arange(20) % 2, name=name)
        for name in ("members", "others")
    )
    return LeakPlan(LeakTarget(Classifier(net.eval(), num_classes=2), "toy model"), "hash", members, others)


@pytest.fixture
def measure(monkeypatch):
    """Puts a measure in the place of all."""

    def put(**by_goal):
        monkeypatch.setattr(leaks, "MEASURES", by_goal)

    return put


def test_without_a_claim_an_attack_bounds_from_below_alone(plan, measure, tmp_path):
    measure(membership=lambda job: LeakFindings((found(job.attacks[0], shift=2.5),), notes=("a note",)))
    output = run_leaks(plan, [Toy()], folder=tmp_path, show=False)
    (claim,) = output.claims
    assert output.notes == ("a note",)
    assert claim.primary
    assert (claim.model, claim.bracket.quantity.fpr) == ("model", 0.01)
    assert claim.bracket.lower.value > 0.2
    assert claim.bracket.lower.basis is Basis.STATISTICAL
    assert claim.bracket.upper.basis is Basis.TRIVIAL
    assert claim.bracket.upper.value == 1.0


def test_a_claim_bounds_from_above_and_a_crossing_is_suspect(plan, measure, tmp_path):
    measure(membership=lambda job: LeakFindings((found(job.attacks[0], shift=2.5),)))

    def bracket(epsilon, delta=1e-5):
        private = replace(plan, guarantee=PrivacyGuarantee.from_claim(epsilon, delta))
        return run_leaks(private, [Toy()], folder=tmp_path, show=False).claims[0].bracket

    loose, tight = bracket(8.0), bracket(0.5)
    assert (loose.consistency, tight.consistency) == (Consistency.CONSISTENT, Consistency.SUSPECT)
    assert tight.upper.value == pytest.approx(np.exp(0.5) * 0.01 + 1e-5)


def test_of_several_attacks_the_best_counts_at_its_part_of_the_error(plan, measure, tmp_path):
    weak, strong = Toy(name="weak"), Toy(name="strong")

    def both(job):
        return LeakFindings(
            tuple(found(attack, shift=2.5 if attack.name == "strong" else 0.0) for attack in job.attacks)
        )

    measure(membership=both)
    alone = run_leaks(plan, [strong], folder=tmp_path, show=False).claims[0].bracket.lower
    together = run_leaks(plan, [weak, strong], folder=tmp_path, show=False).claims[0].bracket.lower
    assert together.method == "weak, strong"
    assert 0 < together.value <= alone.value
    # at 95 % together each holds at 97.5 %
    assert together.value == alone.at_confidence(0.975)


def test_what_is_impossible_is_said_or_raised(plan, measure, tmp_path):
    def refuses(_job):
        raise DataError("5 people; expected more")

    measure(identity=refuses, membership=lambda job: LeakFindings((found(job.attacks[0]),)))
    attacks = [Toy(), Toy(goal="identity", name="faces")]
    output = run_leaks(plan, attacks, folder=tmp_path, show=False, skip_impossible=True)
    assert [one.what for one in output.not_done] == ["identity (faces)"]
    assert len(output.result.measurements) == 1
    with pytest.raises(DataError, match="5 people"):
        run_leaks(plan, attacks[1:], folder=tmp_path, show=False)
    with pytest.raises(SettingError, match="guesses exposure, which nothing measures here"):
        run_leaks(plan, [Toy(goal="exposure")], folder=tmp_path, show=False)


def test_who_gives_the_training_examples_as_others_is_told_to_give_others(plan, tmp_path):
    same = replace(plan, others=plan.members)
    attack = Toy(goal="agreement", name="copy")
    output = run_leaks(same, [attack], folder=tmp_path, show=False, skip_impossible=True)
    (missing,) = output.not_done
    assert "20 of 20 examples of members are also in members" in missing.reason
    assert missing.remedy == OTHER_EXAMPLES


def test_a_training_that_fails_ends_its_goal_alone_and_the_run_fails(plan, measure, tmp_path):
    def fails(_job):
        raise TrainingFailedError("mine.py, line 3: no such file")

    measure(membership=fails, agreement=lambda job: LeakFindings((found(job.attacks[0]),)))
    attacks = [Toy(), Toy(goal="agreement", name="copy")]
    for skip in (False, True):
        output = run_leaks(plan, attacks, folder=tmp_path, show=False, skip_impossible=skip)
        assert [one.attack for one in output.result.measurements] == ["copy"]
        assert output.result.failure_reason == "mine.py, line 3: no such file"
        assert [one.what for one in output.not_done] == ["membership (toy)"]
        merged = merge_leaks(output, StepOutput(LeakResult()))
        verdict = judge((), merged.claims, [merged.result]).verdict
        assert verdict.exit_code == ExitCode.EXECUTION
        with pytest.raises(TrainingFailedError, match="no such file"):
            run_leaks(plan, attacks[:1], folder=tmp_path, show=False, skip_impossible=skip)


@pytest.mark.parametrize("show", [False, True])
def test_private_pictures_stay_out_of_the_folder_whatever_a_measure_does(plan, measure, tmp_path, show):
    def careless(job):
        original = store_picture(job.folder, "person", torch.rand(1, 4, 4), "person")
        return LeakFindings((), (LeakPictures("person", original, None),))

    measure(identity=careless)
    output = run_leaks(plan, [Toy(goal="identity")], folder=tmp_path, show=show)
    assert len(output.result.pictures) == len(list(Path(tmp_path).rglob("*.png"))) == show
    assert any("--show-private" in note for note in output.notes) is not show


def test_two_models_are_two_claims_each_with_its_own_guarantee(plan):
    from quintain.evaluate.leaks.claims import leak_claims

    private = "private, epsilon 1"
    claims = leak_claims(
        [found(Toy(), shift=2.5), found(Toy(), model=private)],
        model="model",
        model_hash="hash",
        data_hash="data",
        guarantees={private: PrivacyGuarantee.from_claim(1.0, 1e-5)},
    )
    assert [(one.model, one.primary) for one in claims] == [("model", True), ("private-epsilon-1", False)]
    assert [one.bracket.upper.basis for one in claims] == [Basis.TRIVIAL, Basis.CLAIMED]
    assert len({one.bracket.quantity for one in claims}) == 2


def test_the_accountants_curve_allows_less_than_its_one_pair():
    from quintain.evaluate.privacy_target import PrivacyTarget, plan_record

    plan = plan_record(PrivacyTarget(epsilon=3.0, batch_size=64, steps=40).plan(512), 512)
    curve, pair = PrivacyGuarantee.of_plan(plan), PrivacyGuarantee.from_claim(plan.epsilon, plan.delta)
    for fpr in (0.001, 0.01, 0.3):
        assert fpr < curve.max_tpr(fpr) < pair.max_tpr(fpr)
    assert 0 < curve.max_advantage < pair.max_advantage
    # the largest gap of the curve is its advantage
    rates = np.linspace(0, 1, 501)
    assert max(curve.max_tpr(float(rate)) - rate for rate in rates) <= curve.max_advantage + 1e-9


@pytest.mark.parametrize(("epsilon", "delta"), [(-1.0, 1e-5), (np.inf, 1e-5), (1.0, 1.0)])
def test_a_claim_that_cannot_be_is_refused(epsilon, delta):
    with pytest.raises(SettingError, match="expected"):
        PrivacyGuarantee.from_claim(epsilon, delta)


def test_by_default_an_attack_of_each_goal_that_is_known_enough_is_taken():
    chosen, missing = default_leaks("labels", knows=("public",))
    assert {entry.fact("goal") for entry in chosen} | {one.what for one in missing} <= set(GOALS)
    for entry in chosen:
        assert set(entry.words("needs")) <= {"public"}
        assert entry.fact("access") == "labels"
    more, _ = default_leaks("gradients", knows=("public", "shadows", "architecture"))
    assert len(more) >= len(chosen)
    assert len({entry.fact("goal") for entry in more}) == len(more)


def test_results_of_updates_and_of_the_model_are_one_result(plan, measure, tmp_path):
    measure(membership=lambda job: LeakFindings((found(job.attacks[0]),)))
    model = run_leaks(plan, [Toy()], folder=tmp_path, show=False)
    update = StepOutput(
        LeakResult(reconstructions=(Reconstruction("a plain update", 30.0, None, True),), seconds=1.0),
        notes=("of updates",),
        reproducible=False,
    )
    merged = merge_leaks(model, update)
    assert merged.result.measurements == model.result.measurements
    assert merged.result.reconstructions == update.result.reconstructions
    assert merged.claims == model.claims
    assert merged.notes == ("of updates",)
    assert not merged.reproducible


def test_people_who_are_found_at_rank_1_are_a_claim_that_only_an_attack_decides(plan, measure, tmp_path):
    attack = Toy(goal="identity", name="faces")
    people = replace(
        found(attack),
        measure="rank 1 of 40",
        value=0.5,
        count=10,
        metric=Metric.REIDENTIFIED,
        fpr=None,
        lower=count_levels(5, 10),
    )
    measure(identity=lambda _job: LeakFindings((people,)))
    private = replace(plan, guarantee=PrivacyGuarantee.from_claim(1.0, 1e-5))
    (claim,) = run_leaks(private, [attack], folder=tmp_path, show=False).claims
    assert claim.bracket.quantity.metric is Metric.REIDENTIFIED
    assert claim.bracket.lower.value == pytest.approx(binomial_lower(5, 10, 0.95))
    assert claim.bracket.upper.basis is Basis.TRIVIAL
    assert "a claim about single examples says nothing of a person" in claim.bracket.upper.method


def test_people_are_known_by_the_held_out_split_where_other_people_are_given(plan, measure, tmp_path):
    seen = {}

    def look(job):
        seen[job.attacks[0].goal] = job.others
        return LeakFindings((found(job.attacks[0]),))

    measure(identity=look, membership=look)
    held_out = plan.others.subset([0])
    more = replace(plan, public=plan.others, held_out=held_out)
    run_leaks(more, [Toy(goal="identity", name="faces"), Toy()], folder=tmp_path, show=False)
    assert seen == {"identity": held_out, "membership": plan.others}
    run_leaks(replace(more, public=None), [Toy(goal="identity")], folder=tmp_path, show=False)
    assert seen["identity"] is plan.others


def test_a_typed_claim_limits_what_is_shown_and_passes_no_requirement():
    from quintain.evaluate.leaks.claims import leak_claims

    (claim,) = leak_claims(
        [found(Toy())],
        model="model",
        model_hash="hash",
        data_hash="data",
        guarantee=PrivacyGuarantee.from_claim(0.01, 0.0),
    )
    assert claim.bracket.upper.value < 0.02
    verdict = claim.bracket.at_most(0.5)
    assert verdict.decision is Decision.UNDECIDED
    assert "is claimed, and not shown" in verdict.reason


def test_what_is_found_by_chance_alone_bounds_nothing():
    from quintain.evaluate.leaks.claims import above, count_levels

    found = count_levels(3, 6)
    assert set(above(found, 0.9).values) == {0.0}
    assert above(found, 0.0) == found
    assert above(found, 0.2).at(0.95, 1.0) == 0.0 < found.at(0.95, 1.0) < 0.2


def test_a_function_may_train_the_net_or_return_a_trained_copy_of_it(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import copy\nimport torch\n\n"
        "def moved(net):\n    for one in net.parameters():\n        one.data += 1\n    return net\n\n"
        "def in_place(net, dataset, seed):\n    moved(net)\n\n"
        "def returned(net, dataset, seed):\n    return moved(net)\n\n"
        "def copied(net, dataset, seed):\n    return moved(copy.deepcopy(net))\n"
    )
    for name in ("in_place", "returned", "copied"):
        net = torch.nn.Linear(2, 2)
        before = net.weight.detach().clone()
        UserTrainer.load(f"{path}:{name}")(net, None, 0)
        assert torch.equal(net.weight, before + 1), name


def test_what_was_found_is_kept_where_a_later_goal_turns_out_to_be_impossible(plan, measure, tmp_path):
    def refuse(_job):
        raise DataError("no room for canaries")

    measure(membership=lambda job: LeakFindings((found(job.attacks[0]),)), exposure=refuse)
    both = [Toy(), Toy(goal="exposure", name="canary")]
    output = run_leaks(plan, both, folder=tmp_path, show=False)
    assert [one.goal for one in output.result.measurements] == ["membership"]
    assert output.result.failure_reason == "no room for canaries"
    assert [one.what for one in output.not_done] == ["exposure (canary)"]
    # nothing is lost where nothing was found before
    with pytest.raises(DataError, match="no room for canaries"):
        run_leaks(plan, both[1:], folder=tmp_path, show=False)
    # what is skipped by its leave is no failure
    left_out = run_leaks(plan, both, folder=tmp_path, show=False, skip_impossible=True)
    assert left_out.result.failure_reason == ""


def test_too_few_members_for_canaries_are_seen_before_any_work(plan, tmp_path):
    with pytest.raises(DataError, match="20 members leave room for 1 canaries"):
        check_leaks(plan, [Toy(), Toy(goal="exposure", name="canary")], folder=tmp_path)


@pytest.mark.parametrize("changed", ["mine.py", "of_mine.py"])
def test_code_that_changes_after_it_was_hashed_trains_no_shadow(tmp_path, changed):
    """A worker loads the file by itself, and would keep what other code trained under that hash."""
    (tmp_path / "of_mine.py").write_text("STEPS = 1\n")
    (tmp_path / "mine.py").write_text(
        "from of_mine import STEPS\n\n"
        "def train(net, dataset, seed):\n    for one in net.parameters():\n        one.data += STEPS\n"
    )
    trainer = UserTrainer.load(f"{tmp_path / 'mine.py'}:train")
    net = torch.nn.Linear(2, 2)
    trainer(net, None, 0)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with (tmp_path / changed).open("a") as file:
        file.write("STEPS = 200\n")
    with pytest.raises(TrainingFailedError, match="or a file that it imports, has changed since"):
        trainer(net, None, 0)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return None", "left the weights of the net as they were"),
        ("return net", "left the weights of the net as they were"),
        ("return copy.deepcopy(net)", "left the weights of the net as they were"),
        (
            "[one.data.fill_(float('nan')) for one in net.parameters()]",
            "left weights that are NaN or infinite",
        ),
    ],
)
def test_a_function_that_trains_nothing_or_to_nan_is_named(tmp_path, body, told):
    path = tmp_path / "mine.py"
    path.write_text(f"import copy\n\ndef train(net, dataset, seed):\n    {body}\n")
    with pytest.raises(TrainingFailedError, match=rf"mine\.py:train {told}"):
        UserTrainer.load(f"{path}:train")(torch.nn.Linear(2, 2), [0] * 5, 0)
