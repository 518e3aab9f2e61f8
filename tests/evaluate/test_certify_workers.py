"""Several processes certify what one does, and what goes wrong in another one is said in this one."""

import multiprocessing
import os
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from quintain.certify import CROWN, IntervalBounds
from quintain.core.errors import ExecutionError, ModelError
from quintain.evaluate import certify_workers
from quintain.evaluate.certificate_chunks import CertificateStore
from quintain.evaluate.certify import certify_examples
from quintain.evaluate.certify_workers import CertifyWorkers
from quintain.evaluate.open_examples import certify_open
from quintain.evaluate.pacing import Pace
from quintain.models.classifier import Classifier
from tests.evaluate.support.inline_pool import InlinePool, inline_jobs
from tests.evaluate.support.trained_net import SIZES, points

REAL_POOL = certify_workers.WorkerPool


def build():
    """A net like the trained one, but for its weights."""
    layers = nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2)
    return Classifier(nn.Sequential(*layers).eval(), num_classes=2)


def build_another():
    layers = nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)
    return Classifier(nn.Sequential(*layers).eval(), num_classes=2)


def fail():
    raise SystemExit("a script without a guard")


@pytest.fixture
def jobs():
    """The jobs of other processes, which take every chance, and are none: see ``InlinePool``."""
    with inline_jobs() as done:
        yield done


@pytest.fixture
def able(subject):
    """The model, which other processes can build."""
    return replace(subject, build=build)


@dataclass(frozen=True)
class Elsewhere:
    """Linear bounds that do something else in another process."""

    instead: str
    cost: ClassVar[str] = "expensive"

    def __call__(self, model, x, y, threat, *, eps=None):
        if InlinePool.is_working or multiprocessing.parent_process() is not None:
            if self.instead == "raise":
                raise ModelError(f"refused with {len(x)} examples")
            if self.instead == "run out of memory":
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            if self.instead == "exit":
                os._exit(3)
        return CROWN()(model, x, y, threat, eps=eps)


LINEAR = CROWN()


def opened(subject, certifier=LINEAR, *, processes=1, workers=None):
    """Certify at the asked sizes as if nothing were known."""
    data = points()
    known = certify_examples(subject, data, SIZES, IntervalBounds(), method="intervals").examples
    known = replace(known, certified_radius=(0.0,) * len(data))
    with CertifyWorkers([subject], processes) as own:
        found, left = certify_open(subject, data, SIZES, certifier, known, method="m", workers=workers or own)
    assert left == 0
    return found


def in_full(subject, **given):
    return certify_examples(subject, points(), SIZES, LINEAR, method="m", **given)


def test_several_processes_certify_what_one_does(jobs, able):
    threads = torch.get_num_threads()
    alone = opened(able)
    assert not jobs
    for processes in (2, 4):
        together = opened(able, processes=processes)
        assert together.examples == alone.examples
        assert together.assumptions == alone.assumptions
        assert together.way_left == pytest.approx(alone.way_left, abs=1e-9)
        assert jobs
        jobs.clear()
    assert any(alone.examples.certified_radius)
    whole = in_full(able)
    assert not jobs
    shared = in_full(able, processes=2, batch_size=5)
    assert shared.examples == whole.examples
    assert shared.assumptions == whole.assumptions
    assert jobs
    assert sum(len(job.y) for job in jobs) < len(points())
    assert torch.get_num_threads() == threads


def test_a_run_that_was_cut_off_keeps_what_other_processes_did(jobs, able, tmp_path, monkeypatch):
    monkeypatch.setattr(Pace, "next_size", lambda _self, left: min(4, left))
    put, kept = CertificateStore.put, []

    def cut(self, chunk):
        if len(kept) == 6:
            raise KeyboardInterrupt
        kept.extend([chunk])
        put(self, chunk)

    with monkeypatch.context() as patch:
        patch.setattr(CertificateStore, "put", cut)
        with pytest.raises(KeyboardInterrupt, match=r"^certificates of 24 of 60 examples$"):
            in_full(able, processes=2, checkpoint_dir=tmp_path)
    elsewhere = {tuple(job.y) for job in jobs}
    assert any(tuple(points().labels[chunk.rows]) in elsewhere for chunk in kept)
    jobs.clear()
    resumed = in_full(able, processes=2, checkpoint_dir=tmp_path)
    assert resumed.examples == in_full(able).examples
    assert 0 < sum(len(job.y) for job in jobs) < 60 - 24


def test_where_another_process_cannot_have_the_net_this_one_does_the_work(jobs, able):
    alone = opened(able).examples
    for wrong in (build_another, fail):
        jobs.clear()
        assert opened(replace(able, build=wrong), processes=2).examples == alone
        assert len(jobs) <= certify_workers.JOBS_PER_PROCESS
    jobs.clear()
    for other, processes in ((lambda: None, 2), (None, 2), (build, 1)):
        assert opened(replace(able, build=other), processes=processes).examples == alone
    certify_examples(able, points(), SIZES, IntervalBounds(), method="m", processes=2)
    assert not jobs


def test_little_work_starts_no_process(jobs, able, monkeypatch):
    monkeypatch.setattr(certify_workers, "MIN_SECONDS", np.inf)
    opened(able, processes=2)
    in_full(able, processes=2)
    assert not jobs


def test_no_more_processes_than_there_is_work_for(jobs, able):
    with CertifyWorkers([able], 64) as workers:
        assert not workers.start_if_useful(able, IntervalBounds(), 1e9)
        assert workers.processes == 1
        assert workers.start_if_useful(able, LINEAR, 4 * certify_workers.SECONDS_EACH)
        assert workers.processes == 5
        assert workers.start_if_useful(able, LINEAR, 1e9)
        assert workers.processes == 5
    assert not jobs


def test_the_last_parts_are_small_where_several_processes_share_them(jobs, able):
    with CertifyWorkers([able], 4) as workers:
        assert workers.part_size(32, 10, smallest=8) == 32
        assert workers.start_if_useful(able, LINEAR, 1e9)
        sizes = {left: workers.part_size(32, left, smallest=8) for left in (1000, 40, 10)}
        assert sizes == {1000: 32, 40: 10, 10: 8}
        assert workers.part_size(5, 10, smallest=8) == 5
    assert not jobs


class WithExtraState(nn.Linear):
    """A layer that saves more than tensors, which no file of weights holds."""

    def get_extra_state(self):
        return {"of": "another kind"}

    def set_extra_state(self, state):
        pass


def test_what_other_processes_cannot_have_is_certified_here(jobs, able, monkeypatch):
    """A net that saves more than tensors, a class in a function, and a run that several processes share."""
    other = replace(able, model=Classifier(nn.Sequential(WithExtraState(2, 2)).eval()))
    with CertifyWorkers([other], 2) as workers:
        assert not workers.start_if_useful(other, LINEAR, 1e9)

    class Local(CROWN):
        pass

    with CertifyWorkers([able], 2) as workers:
        assert not workers.start_if_useful(able, Local(), 1e9)
        assert workers.start_if_useful(able, LINEAR, 1e9)
        assert not workers.start_if_useful(able, Local(), 1e9)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with CertifyWorkers([able], 2) as workers:
        assert not workers.start_if_useful(able, LINEAR, 1e9)
    assert not jobs


def test_real_processes_certify_and_what_ends_one_is_said_here(able, monkeypatch):
    monkeypatch.setattr(certify_workers, "MIN_SECONDS", 0.0)
    submitted = []

    class Pool(REAL_POOL):
        def submit(self, job):
            submitted.append(super().submit(job))
            return submitted[-1]

    monkeypatch.setattr(certify_workers, "WorkerPool", Pool)
    alone = opened(able).examples
    with CertifyWorkers([able], 2) as workers:
        assert opened(able, workers=workers).examples == alone
        assert submitted
        assert all(one.result() is not None for one in submitted)
        with pytest.raises(ModelError, match="refused with"):
            opened(able, Elsewhere("raise"), workers=workers)
        with pytest.raises(ExecutionError, match=r"ended early; expected enough memory.*OMP_NUM_THREADS=1"):
            opened(able, Elsewhere("exit"), workers=workers)
    assert multiprocessing.active_children() == []


def test_a_process_without_memory_leaves_the_work_to_this_one(jobs, able):
    alone = opened(able).examples
    assert opened(able, Elsewhere("run out of memory"), processes=2).examples == alone
    assert jobs
