"""Before each step it is decided whether it can be done and how much of it, by a clock that tests set."""

from dataclasses import replace

import pytest
import torch

from quintain.drill import Settings, pipeline
from quintain.drill.budget import Amount
from quintain.drill.planner import Planner, StepPlan
from quintain.drill.run_folder import RunFolder
from quintain.drill.settings import FULL
from quintain.drill.step import Obstacle, Step
from quintain.drill.subject import Subject
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

    def make(steps=(PLAIN, ROUNDS), minutes=1.0):
        clock = Clock()
        settings = Settings(model=f"{tmp_path}/nets.py:mlp", data=f"{tmp_path}/table.npz", minutes=minutes)
        run = RunFolder(tmp_path / "run", settings, (*pipeline.STEPS, "drill"))
        subject = Subject(settings, torch.device("cpu"))
        full = replace(FULL, plain_epochs=30, rounds=6, test_examples=60, train_examples=240)
        names = frozenset(one.name for one in steps)
        context = pipeline._context(run, settings, full, subject, names, pipeline.no_progress)
        return Planner(context, steps, clock, 0.0), clock

    return make


def test_sizes_fit_the_time_and_are_said_to_be_cut(planner):
    plan, _ = planner(minutes=2)
    first = plan.prepare(PLAIN)
    assert isinstance(first, StepPlan)
    assert [str(cut) for cut in first.cuts] == ["30 -> 29 epochs of plain training"]
    assert first.seconds == 58


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


def test_a_step_is_not_done_where_one_that_it_needs_was_not(planner):
    plan, _ = planner()
    plan.obstacles["train"] = Obstacle("there is no train split", "add one")
    found = plan.prepare(ROUNDS)
    assert found == Obstacle(
        "it needs the step train, which was not done: there is no train split", "add one"
    )


def test_a_second_start_has_the_sizes_of_the_first_whatever_time_is_left(planner):
    first, _ = planner(minutes=2)
    sizes = first.prepare(PLAIN).workload.plain_epochs
    again, clock = planner(minutes=2)
    clock.now = 119.0
    assert again.prepare(PLAIN).workload.plain_epochs == sizes
