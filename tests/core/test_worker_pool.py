"""Worker processes: what they do, what their errors say, and that none outlives the block."""

import multiprocessing
import os
import pickle
import threading
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import pytest

from quintain.core.worker_pool import WorkerPool, can_be_pickled

STATE = {"prepared": 0}


def prepare():
    STATE["prepared"] += 1


def work(job):
    if job == "raise":
        raise ValueError("no such job")
    if job == "exit":
        os._exit(3)
    if job == "forever":
        threading.Event().wait()
    return job, STATE["prepared"], os.getpid()


def test_jobs_are_done_in_prepared_processes_and_errors_are_raised_here():
    with WorkerPool(work, 1, prepare) as pool:
        jobs = [pool.submit(number) for number in (1, 2)]
        wrong = pool.submit("raise")
        answers = [job.result() for job in jobs]
        with pytest.raises(ValueError, match="no such job"):
            wrong.result()
    assert [(job, prepared) for job, prepared, _ in answers] == [(1, 1), (2, 1)]
    assert os.getpid() not in {process for *_, process in answers}
    assert STATE == {"prepared": 0}
    assert multiprocessing.active_children() == []


def test_a_block_that_is_left_by_an_error_waits_for_no_job():
    def interrupted():
        with WorkerPool(work, 1, prepare) as pool:
            pool.submit(1).result()
            pool.submit("forever")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert multiprocessing.active_children() == []


def test_a_process_that_ends_by_itself_breaks_the_pool():
    with WorkerPool(work, 1, prepare) as pool:
        ended = pool.submit("exit")
        wait([ended])
        with pytest.raises(BrokenProcessPool):
            ended.result()
        with pytest.raises(BrokenProcessPool):
            pool.submit(1)
    assert multiprocessing.active_children() == []


class Large:
    """Work that is larger than any pipe holds."""

    def __init__(self):
        self.weights = bytes(2**22)

    def __call__(self, job):
        return job + len(self.weights)


def end_at_once():
    os._exit(3)


def test_large_work_is_handed_to_each_process_and_none_need_start():
    with WorkerPool(Large(), 2, prepare) as pool:
        assert sorted(job.result() for job in [pool.submit(1), pool.submit(2)]) == [2**22 + 1, 2**22 + 2]
    with WorkerPool(Large(), 2, prepare):
        pass
    assert multiprocessing.active_children() == []


def test_a_process_that_dies_before_it_has_its_work_breaks_the_pool():
    with WorkerPool(Large(), 2, end_at_once) as pool, pytest.raises(BrokenProcessPool):
        pool.submit(1).result()
    assert multiprocessing.active_children() == []


def test_work_that_cannot_be_copied_is_refused_at_once():
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        WorkerPool(lambda job: job, 1, prepare)


def test_what_can_be_handed_to_a_process():
    assert can_be_pickled(partial(work, 1))
    assert not can_be_pickled(lambda: None)
