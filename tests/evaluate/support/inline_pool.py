"""A pool of worker processes that are none, for tests of what several processes do together."""

import pickle
from concurrent.futures import Future
from contextlib import contextmanager
from typing import ClassVar

import pytest

from quintain.evaluate import certify_workers


class InlinePool:
    """A pool that does each job at once and here; what goes in and out is copied as between processes."""

    jobs: ClassVar[list] = []
    refused: ClassVar[list] = []
    is_working: ClassVar[bool] = False

    def __init__(self, work, _processes, _prepare):
        self.work = pickle.loads(pickle.dumps(work))

    def submit(self, job):
        self.jobs.append(job)
        done = Future()
        InlinePool.is_working = True
        try:
            reply = self.work(pickle.loads(pickle.dumps(job)))
            if reply is None:
                self.refused.append(job)
            done.set_result(pickle.loads(pickle.dumps(reply)))
        finally:
            InlinePool.is_working = False
        return done

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@contextmanager
def inline_jobs():
    """Let other processes take every chance, which are none: gives the jobs that they do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certify_workers, "MIN_SECONDS", 0.0)
        patch.setattr(certify_workers, "WorkerPool", InlinePool)
        patch.setattr(InlinePool, "jobs", [])
        patch.setattr(InlinePool, "refused", [])
        yield InlinePool.jobs
