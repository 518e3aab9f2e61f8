"""A drill's plan on a machine that other programs load: by a clock and a processor that tests set."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from quintain.drill import Settings, drill, pipeline
from quintain.drill.budget import Amount
from quintain.drill.pace import MAX_CORRECTION, DrillPace
from quintain.drill.planner import Planner, StepPlan
from quintain.drill.run_folder import RunFolder
from quintain.drill.settings import FULL
from quintain.drill.step import Step
from quintain.drill.subject import Subject
from tests.drill.own_models import write_files

MINUTES = 2.0

UNITS = {"train": ("plain_epochs", 1.0), "harden": ("adversarial_epochs", 2.0), "federate": ("rounds", 3.0)}
"""Steps: the field of their amount, and the processor seconds of one of it."""

FULL_WORK = replace(
    FULL, plain_epochs=30, adversarial_epochs=30, rounds=30, test_examples=60, train_examples=60
)
"""Takes 180 s of a quiet machine."""


class Machine:
    """A machine on which other programs run until some moments.

    Args:
        loads: Until when it takes how many seconds for one of processor time.
        wasted: Processor time that is spent on waiting, by each of the seconds beyond the first.
    """

    def __init__(self, *loads, wasted=0.0):
        self.loads, self.wasted, self.now, self.spent = loads, wasted, 0.0, 0.0

    def work(self, seconds):
        while seconds > 1e-9:
            end, load = next((end, load) for end, load in self.loads if self.now < end - 1e-9)
            done = min(seconds, (end - self.now) / load)
            self.now += done * load
            self.spent += done * (1 + self.wasted * (load - 1))
            seconds -= done


ALWAYS = 1e9


@pytest.fixture
def plan_on(tmp_path):
    """Plans and does the steps on a machine; returns the sizes, whether each was done, and the planner."""
    write_files(tmp_path)

    def made(machine, steps=None, full=FULL_WORK):
        own = {"model": f"{tmp_path}/nets.py:mlp", "data": f"{tmp_path}/table.npz"}
        settings = Settings(minutes=MINUTES, **own)
        run = RunFolder(tmp_path / f"run-{id(machine)}", settings, (*pipeline.STEPS, "drill"))
        steps = steps or [step(machine, name) for name in UNITS]
        names = frozenset(one.name for one in steps)
        subject = Subject(settings, torch.device("cpu"))
        context = pipeline._context(run, settings, full, subject, names, pipeline.no_progress)
        planner = Planner(context, steps, lambda: machine.now, 0.0, lambda: machine.spent)
        planner.done = []
        for one in steps:
            plan = planner.prepare(one)
            if isinstance(plan, StepPlan):
                planner.done.append(one.name)
                machine.work(real_work(one.name, plan.workload))
                planner.note(SimpleNamespace(result=None))
        return planner

    return made


def real_work(name, workload):
    field, unit = UNITS[name]
    return unit * getattr(workload, field)


def step(machine, name, *, trial=2.0, trial_errors=(), **more):
    """A step whose trial is some seconds of work, and too long by some factors the first times."""
    field, unit = UNITS[name]
    errors = iter(trial_errors)

    def estimate(_context, trials):
        started = trials.clock()
        machine.work(trial)
        measured = unit * (trials.clock() - started) / trial * next(errors, 1.0)
        return lambda workload: measured * getattr(workload, field)

    amount = Amount(field, field, 3)
    return Step(name, lambda _context: None, estimate, amounts=lambda _context: (amount,), **more)


def sizes(planner):
    return [getattr(planner.workload, field) for field, _ in UNITS.values()]


def test_on_a_quiet_machine_the_time_is_used(plan_on):
    machine = Machine((ALWAYS, 1.0))
    planner = plan_on(machine)
    assert sizes(planner) == [30, 20, 13]
    assert 105 < machine.now <= 120


def test_where_the_machine_was_busy_in_the_trials_alone_no_more_is_cut_than_for_the_time_they_took(plan_on):
    machine = Machine((30.0, 5.0), (ALWAYS, 1.0))
    planner = plan_on(machine)
    assert sizes(planner) == [26, 14, 9]
    assert 105 < machine.now <= 120


def test_processor_time_that_is_spent_on_waiting_in_the_trials_is_seen_when_the_machine_is_quiet(plan_on):
    machine = Machine((7.5, 5.0), (ALWAYS, 1.0), wasted=0.5)
    planner = plan_on(machine, [step(machine, name, trial=0.5) for name in UNITS])
    assert planner.trial_seconds == pytest.approx(7.5 + 1.5)  # they were made twice
    assert sizes(planner) == [30, 19, 13]
    assert 105 < machine.now <= 120


def test_where_the_machine_becomes_busy_the_steps_after_are_cut_so_that_the_drill_ends_in_time(plan_on):
    machine = Machine((10.0, 1.0), (ALWAYS, 1.5))
    planner = plan_on(machine)
    assert planner.pace == pytest.approx(1.5, rel=0.01)
    assert sizes(planner) == [30, 11, 8]
    assert 105 < machine.now <= 120


def test_a_step_that_there_is_no_time_for_any_more_waits(plan_on):
    machine = Machine((38.0, 1.0), (ALWAYS, 2.0))
    planner = plan_on(machine)
    assert planner.done == ["train", "harden"]
    assert [one.name for one in planner.second_chance()] == ["federate"]


def test_on_a_machine_that_is_always_busy_all_steps_are_cut_and_the_drill_ends_in_time(plan_on):
    machine = Machine((ALWAYS, 2.0))
    planner = plan_on(machine)
    assert planner.pace == pytest.approx(2.0)
    assert planner.done == list(UNITS)
    assert 105 < machine.now <= 120


def test_a_trial_that_went_wrong_once_is_made_again_where_it_would_cut_much(plan_on):
    machine = Machine((ALWAYS, 1.0))
    steps = [step(machine, "train"), step(machine, "harden"), step(machine, "federate", trial_errors=(7.0,))]
    planner = plan_on(machine, steps)
    assert planner.trial_seconds == pytest.approx(12.0)
    assert sizes(planner) == [30, 19, 12]
    assert 105 < machine.now <= 120


def test_trials_that_took_long_are_not_made_again(plan_on):
    machine = Machine((ALWAYS, 10.0))
    assert plan_on(machine).trial_seconds == pytest.approx(60.0)


def test_trials_are_made_twice_before_examples_are_cut(plan_on):
    machine, units = Machine((ALWAYS, 1.0)), iter([0.12])

    def estimate(_context, _trials):
        machine.work(2.0)
        unit = next(units, 0.05)
        return lambda workload: unit * workload.train_examples

    one = Step("train", lambda _context: None, estimate)
    planner = plan_on(machine, [one], full=replace(FULL_WORK, train_examples=1_000))
    assert planner.trial_seconds == 4.0
    assert planner.workload.train_examples == 1_000


def test_seconds_that_end_by_the_clock_are_no_longer_on_a_busy_machine(plan_on):
    machine = Machine((ALWAYS, 4.0))
    seconds = Amount("bound_seconds", "seconds of linear bounds", 5, is_seconds=True)
    ended = replace(step(machine, "train"), amounts=lambda _context: (seconds,))
    work = replace(FULL_WORK, plain_epochs=10)
    planner = plan_on(machine, [replace(ended, estimate=lambda _context, _trials: lambda _work: 1.0)])
    planner._estimates.pace.note_load(10.0, 2.5, is_trial=True)
    (demand,) = planner._estimates.demands().values()
    assert demand.seconds(work) == pytest.approx(
        4.0 * planner._estimates.pace.correction + work.bound_seconds
    )


def test_a_step_of_other_processes_says_nothing_of_the_load(plan_on):
    machine = Machine((ALWAYS, 1.0))
    one = step(machine, "train", has_workers=True)
    planner = plan_on(machine, [one])
    slowdown = planner._estimates.pace.slowdown
    planner._estimates.begin(one, planner.workload)
    machine.now += 30.0  # in which others work
    planner.note(SimpleNamespace(result=None))
    assert planner._estimates.pace.slowdown == slowdown == 1.0


def test_the_pace_follows_the_load_and_forgets_it_by_half_in_a_fiftieth_of_the_time():
    pace = DrillPace(300.0)
    assert float(pace) == 1.0
    pace.note_load(10.0, 2.0, is_trial=True)
    assert pace.slowdown == 5.0
    pace.note_load(6.0, 6.0)
    assert pace.slowdown == pytest.approx(3.0)
    pace.note_load(6.0, 12.0)  # more than one thread: not quicker than alone
    assert pace.slowdown == pytest.approx(2.0)
    pace.note_load(0.0, 0.0)
    assert pace.slowdown == pytest.approx(2.0)


def test_the_correction_is_of_processor_time_and_has_a_limit():
    pace = DrillPace(300.0)
    pace.note_step(15.0, 45.0, at_most=False)
    assert pace.correction == pytest.approx((15 + 45) / 30)
    pace.note_step(100.0, 1.0, at_most=True)
    assert pace.correction == pytest.approx(2.0)
    pace.note_step(1.0, 10_000.0, at_most=True)
    assert pace.correction == MAX_CORRECTION
    pace.forget_estimates()
    assert pace.correction == 1.0


@pytest.mark.parametrize(("own", "expected"), [(False, time.thread_time), (True, None)])
def test_beside_the_systems_clock_a_net_on_the_cpu_is_tried_by_processor_time(
    tmp_path, monkeypatch, own, expected
):
    write_files(tmp_path)

    class StoppedError(Exception):
        pass

    def stop(_context, _steps, clock, _spent, work_clock):
        assert work_clock is (expected or clock)
        raise StoppedError

    monkeypatch.setattr(pipeline, "Planner", stop)
    settings = Settings(model=f"{tmp_path}/nets.py:mlp", data=f"{tmp_path}/table.npz", require=())
    with pytest.raises(StoppedError):
        drill(tmp_path / "run", settings, **({"clock": lambda: 0.0} if own else {}))
