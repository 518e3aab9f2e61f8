"""Before each step it is decided whether it can be done and how much of it, by a clock that tests set."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from quintain.core.errors import ModelError
from quintain.drill import Settings, pipeline
from quintain.drill.budget import ESSENTIAL, Amount
from quintain.drill.planner import Planner, StepPlan
from quintain.drill.run_folder import RunFolder
from quintain.drill.settings import FULL
from quintain.drill.step import Obstacle, Step
from quintain.drill.steps import check
from quintain.drill.subject import Subject
from quintain.results.codec import load
from quintain.results.robustness_records import CheckResult
from tests.drill.own_models import write_files


class Clock:
    """A clock that stands until it is set."""

    now = 0.0

    def __call__(self):
        return self.now


def step(name, amount, unit, *, needs=()):
    """A step that takes ``unit`` seconds for each of its amount, and is never run."""
    return Step(
        name,
        run=lambda _context: pytest.fail("was run"),
        estimate=lambda _context, _trials: lambda work: unit * getattr(work, amount.field),
        needs=needs,
        amounts=lambda _context: (amount,),
    )


PLAIN = step("train", Amount("plain_epochs", "epochs of plain training", 3), 2.0)
ROUNDS = step("federate", Amount("rounds", "rounds of federated training", 2), 20.0, needs=("train",))


@pytest.fixture
def planner(tmp_path):
    """A planner of two steps in one minute, and its clock."""
    write_files(tmp_path)

    def make(steps=(PLAIN, ROUNDS), minutes=1.0, **chosen):
        clock = Clock()
        own = {"model": f"{tmp_path}/nets.py:mlp", "data": f"{tmp_path}/table.npz", **chosen}
        settings = Settings(minutes=minutes, **own)
        run = RunFolder(tmp_path / "run", settings, (*pipeline.STEPS, "drill"))
        subject = Subject(settings, torch.device("cpu"))
        full = replace(FULL, plain_epochs=30, rounds=6, test_examples=60, train_examples=240)
        names = frozenset(one.name for one in steps)
        context = pipeline._context(run, settings, full, subject, names, pipeline.no_progress)
        return Planner(context, steps, clock, 0.0, clock), clock

    return make


def test_sizes_fit_the_time_and_are_said_to_be_cut(planner):
    plan, _ = planner(minutes=2)
    first = plan.prepare(PLAIN)
    assert isinstance(first, StepPlan)
    assert [str(cut) for cut in first.cuts] == ["30 -> 29 epochs of plain training"]
    assert first.seconds == 58


def test_what_all_steps_have_in_common_is_said_to_be_cut_once_though_an_earlier_step_waited(planner):
    waiting = replace(
        PLAIN,
        name="check",
        worth=ESSENTIAL,
        estimate=lambda _context, _trials: lambda work: 4.0 * work.test_examples,
    )
    other = replace(ROUNDS, needs=(), worth=1)
    plan, clock = planner((waiting, other))
    assert isinstance(plan.prepare(waiting), Obstacle)
    first = plan.prepare(other)
    assert isinstance(first, StepPlan)
    assert "test examples" in " ".join(cut.what for cut in first.cuts)
    (again,) = plan.second_chance()
    clock.now = -1000.0
    second = plan.prepare(again)
    assert isinstance(second, StepPlan)
    assert "test examples" not in " ".join(cut.what for cut in second.cuts)


def test_what_a_step_leaves_of_its_time_goes_to_the_next(planner):
    plan, clock = planner(minutes=2)
    plan.prepare(PLAIN)
    clock.now = 1.0
    rounds = plan.prepare(ROUNDS)
    assert isinstance(rounds, StepPlan)
    assert (rounds.workload.rounds, rounds.seconds) == (5, 100)


def test_a_step_that_no_time_is_left_for_is_not_done_and_says_how_many_minutes_it_needs(planner):
    plan, clock = planner(minutes=2)
    plan.prepare(PLAIN)
    clock.now = 100.0
    found = plan.prepare(ROUNDS)
    assert isinstance(found, Obstacle)
    assert found.reason.startswith(
        "it takes 40 s even at its smallest useful size, and 20 s of 2 minutes are"
    )
    assert "--minutes 5" in found.remedy


def test_a_part_of_a_second_is_not_said_to_be_none(planner):
    quick = replace(ROUNDS, estimate=lambda _context, _trials: lambda _work: 0.4)
    plan, clock = planner((PLAIN, quick), minutes=2)
    plan.prepare(PLAIN)
    clock.now = 119.9
    found = plan.prepare(quick)
    assert isinstance(found, Obstacle)
    assert found.reason.startswith("it takes 0.4 s even at its smallest useful size, and 0.1 s of 2 minutes")


def test_a_step_is_not_done_where_one_that_it_needs_was_not(planner):
    plan, _ = planner()
    plan.obstacles["train"] = Obstacle("there is no train split", "add one")
    found = plan.prepare(ROUNDS)
    assert found == Obstacle(
        "it needs the step train, which was not done: there is no train split", "add one"
    )


def test_a_step_that_only_others_need_is_not_done_where_there_is_no_time_for_these(planner):
    seconds = [3000.0]
    long = replace(ROUNDS, estimate=lambda _context, _trials: lambda _work: seconds[0])
    plan, _ = planner((replace(PLAIN, worth=2), long), minutes=1.5, only=("federate",))
    first, second = plan.prepare(PLAIN), plan.prepare(ROUNDS)
    assert isinstance(first, Obstacle)
    assert first.reason.startswith("only federate needed it, which was not done: it takes 3000 s")
    assert isinstance(second, Obstacle)
    assert second.reason.startswith("it takes 3000 s even at its smallest useful size")
    assert "--minutes 80" in first.remedy == second.remedy
    seconds[0] = 30.0
    assert [one.name for one in plan.second_chance()] == ["train", "federate"]
    assert isinstance(plan.prepare(PLAIN), StepPlan)
    assert isinstance(plan.prepare(ROUNDS), StepPlan)


def test_a_step_that_only_others_need_is_not_done_where_they_cannot_be(planner):
    plan, _ = planner(only=("federate",))
    plan.obstacles["federate"] = Obstacle("the net has BatchNorm", "take GroupNorm")
    found = plan.prepare(PLAIN)
    assert found == Obstacle(
        "only federate needed it, which was not done: the net has BatchNorm", "take GroupNorm"
    )
    assert isinstance(plan.prepare(ROUNDS), Obstacle)


def test_a_step_that_was_named_is_done_whatever_becomes_of_those_that_need_it(planner):
    plan, _ = planner(only=("federate", "train"), minutes=2.0)
    plan.obstacles["federate"] = Obstacle("the net has BatchNorm", "take GroupNorm")
    assert isinstance(plan.prepare(PLAIN), StepPlan)


def test_a_step_whose_trial_the_net_does_not_allow_is_not_done_and_says_why(planner):
    def refused(_work):
        raise ModelError("a layer has no second derivative")

    plan, _ = planner((PLAIN, replace(ROUNDS, estimate=lambda _context, _trials: refused)))
    assert plan.prepare(ROUNDS).reason == "a layer has no second derivative"
    assert plan.planned == {"train"}


def test_a_second_start_has_the_sizes_of_the_first_whatever_time_is_left(planner):
    first, _ = planner(minutes=2)
    sizes = first.prepare(PLAIN).workload.plain_epochs
    again, clock = planner(minutes=2)
    clock.now = 119.0
    assert again.prepare(PLAIN).workload.plain_epochs == sizes


def test_the_time_of_trials_is_told(planner, monkeypatch):
    clock = Clock()

    def tried(_work):
        clock.now += 4.0
        return 1.0

    monkeypatch.setattr(Clock, "__call__", lambda _self: clock.now)
    plan, _ = planner((replace(PLAIN, estimate=lambda _context, _trials: tried), ROUNDS))
    assert plan.trial_seconds == 4.0


def record(result=None):
    """The record of a step, of which only the result is looked at."""
    return SimpleNamespace(result=result)


def test_estimates_follow_what_steps_took_up_to_a_factor(planner):
    plan, clock = planner(minutes=10)
    plan.prepare(PLAIN)
    clock.now = 120.0
    plan.note(record())
    assert plan.pace == pytest.approx((30 + 120) / (30 + 60))
    rounds = plan.prepare(ROUNDS)
    assert rounds.seconds == pytest.approx(plan.pace * 20 * rounds.workload.rounds)
    clock.now = 10_000.0
    plan.note(record())
    assert plan.pace == 3


def test_a_step_that_is_quicker_than_its_bound_does_not_shorten_the_estimates_of_others(planner):
    bounded = replace(PLAIN, takes_at_most=True)
    plan, clock = planner((bounded, ROUNDS), minutes=10)
    plan.prepare(bounded)
    clock.now = 1.0
    plan.note(record())
    assert plan.pace == 1


def test_a_step_that_waits_is_done_in_the_end_where_others_were_quicker_than_estimated(planner):
    worthy, other = replace(PLAIN, worth=2), replace(ROUNDS, needs=(), worth=1)
    plan, clock = planner((other, worthy), minutes=0.75)
    found = plan.prepare(other)
    assert isinstance(found, Obstacle)
    assert plan.waiting == {"federate": found}
    assert plan.planned == {"train"}
    plan.prepare(worthy)
    clock.now = 3.0
    plan.note(record())
    assert plan.second_chance() == [other]
    again = plan.prepare(other)
    assert isinstance(again, StepPlan)
    assert again.workload.rounds >= 2
    assert plan.planned == {"train", "federate"}


CERTIFY = replace(
    PLAIN,
    name="certify",
    worth=ESSENTIAL,
    # 5 s in any case, and 40 s for a part that can be left out
    estimate=lambda _context, _trials: lambda work: 5.0 + 40.0 * bool(work.smoothed_examples),
    amounts=lambda _context: (Amount("smoothed_examples", "examples certified by smoothing", 0),),
)


def test_a_step_of_which_a_part_would_be_left_out_waits_for_the_time_that_others_leave(planner):
    later = replace(ROUNDS, needs=(), worth=1)
    plan, clock = planner((CERTIFY, later), minutes=1)
    found = plan.prepare(CERTIFY)
    assert isinstance(found, Obstacle)
    assert found.reason == "there is no time yet for examples certified by smoothing"
    plan.prepare(later)
    clock.now = 10.0
    plan.note(record())
    assert plan.second_chance() == [CERTIFY]
    again = plan.prepare(CERTIFY)
    assert isinstance(again, StepPlan)
    assert again.workload.smoothed_examples > 0


def test_a_step_that_waited_for_a_part_is_done_without_it_where_the_others_took_longer(planner):
    later = replace(ROUNDS, needs=(), worth=1)
    plan, clock = planner((CERTIFY, later), minutes=1)
    plan.prepare(CERTIFY)
    plan.prepare(later)
    clock.now = 58.0
    plan.note(record())
    plan.second_chance()
    again = plan.prepare(CERTIFY)
    assert isinstance(again, StepPlan)
    assert again.workload.smoothed_examples == 0
    assert [str(cut) for cut in again.cuts] == ["100 -> 0 examples certified by smoothing"]


def test_a_step_does_not_wait_for_a_part_where_nothing_comes_after_it(planner):
    plan, _ = planner((CERTIFY,), minutes=0.5)
    found = plan.prepare(CERTIFY)
    assert isinstance(found, StepPlan)
    assert found.workload.smoothed_examples == 0


def test_what_waits_is_tried_anew_where_much_time_is_left_since_the_machine_may_have_been_busy(planner):
    speed = [100.0]
    busy = replace(
        ROUNDS, needs=(), estimate=lambda _context, _trials: (unit := speed[0]) and (lambda _work: unit)
    )
    plan, _ = planner((busy,))
    assert isinstance(plan.prepare(busy), Obstacle)
    speed[0] = 10.0
    assert plan.second_chance() == [busy]
    found = plan.prepare(busy)
    assert isinstance(found, StepPlan)
    assert found.seconds == 10


def test_what_waits_is_tried_anew_only_when_it_is_its_turn(planner):
    tried = []

    def waiting(one, worth):
        def estimate(_context, _trials):
            tried.append(one.name)
            return lambda _work: 100.0

        return replace(one, needs=(), worth=worth, estimate=estimate)

    first, second = waiting(PLAIN, 2), waiting(ROUNDS, 1)
    plan, _ = planner((first, second))
    assert all(isinstance(plan.prepare(one), Obstacle) for one in (first, second))
    assert plan.second_chance() == [first, second]
    assert tried == ["train", "federate"] * 2
    plan.prepare(first)
    assert tried == [*["train", "federate"] * 2, "train"]


def test_a_step_waits_where_one_that_it_needs_does_and_the_worthier_is_tried_first(planner):
    plan, _ = planner((replace(PLAIN, worth=2), ROUNDS), minutes=0.05)
    assert isinstance(plan.prepare(PLAIN), Obstacle)
    assert plan.prepare(ROUNDS).reason.startswith("it needs the step train, which was not done: it takes 6 s")
    assert [one.name for one in plan.second_chance()] == ["train", "federate"]
    assert plan.waiting == {}


def test_a_drill_does_in_the_end_what_waited_and_a_second_start_repeats_it(tmp_path, monkeypatch):
    write_files(tmp_path)
    clock = Clock()

    def quick(context):
        clock.now += 3.0
        return check.STEP.run(context)

    first = replace(ROUNDS, name="check", needs=(), worth=1, run=quick)
    worthy = replace(PLAIN, worth=2, run=quick)
    monkeypatch.setattr(pipeline, "STEPS", {"check": first, "train": worthy})
    settings = Settings(
        model=f"{tmp_path}/nets.py:mlp", data=f"{tmp_path}/table.npz", minutes=0.75, require=()
    )
    told = []

    def drill():
        pipeline.drill(
            tmp_path / "run",
            settings,
            on_wait=lambda step, _why: told.append(f"{step} waits"),
            on_step=lambda step, _record: told.append(step),
            clock=clock,
        )
        return {path.name: path.read_bytes() for path in (tmp_path / "run").glob("0[12]-*.json")}

    done = drill()
    assert told == ["check waits", "train", "check", "drill"]
    assert isinstance(load(tmp_path / "run" / "01-check.json").result, CheckResult)
    sizes = (tmp_path / "run" / "sizes.json").read_bytes()
    assert drill() == done
    assert told[4:] == ["check", "train", "drill"]
    assert (tmp_path / "run" / "sizes.json").read_bytes() == sizes
