"""Worker processes that do jobs of one kind beside this process, and end with it."""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from multiprocessing.synchronize import Lock
from types import TracebackType
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


class WorkerPool(Generic[Job, Result]):
    """Processes that do one job at a time each; one starts when there is a job and all others are busy.

    They are fresh interpreters, to which work, jobs and results are copied: all three have to be picklable,
    and a script of the user's does its own work under ``if __name__ == "__main__":``. None outlives the
    ``with`` block, nor this process, however that ends; Ctrl-C reaches this process alone. A block that is
    left by an error waits for no job.

    Args:
        work: Does a job; each process gets a copy of its own, which it keeps.
        processes: How many processes there may be.
        prepare: Called first in each of them.
    """

    def __init__(self, work: Callable[[Job], Result], processes: int, prepare: Callable[[], None]) -> None:
        context = multiprocessing.get_context("spawn")
        self._workers_end, self._own_end = context.Pipe(duplex=False)
        self._read_end, self._write_end = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(
            processes,
            mp_context=context,
            initializer=_start_worker,
            initargs=(self._read_end, context.Lock(), prepare, self._workers_end),
        )

        # Not with what a process is started with: that is written while this process itself holds the other
        # end of the pipe, so that of more than the pipe holds, to a process that has died, it never ends.
        copied = bytes(ForkingPickler.dumps(work))

        def hand_out() -> None:
            with suppress(OSError):
                for _ in range(processes):
                    self._write_end.send_bytes(copied)

        self._handing_out = threading.Thread(target=hand_out, daemon=True)
        self._handing_out.start()

    def submit(self, job: Job) -> "Future[Result]":
        """Let a process do a job.

        Raises:
            BrokenProcessPool: If a process ended by itself; from then on no job is done.
        """
        with _block_ctrl_c():
            return self._pool.submit(_run_in_worker, job)

    def __enter__(self) -> "WorkerPool[Job, Result]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._own_end.close()  # ends the workers: an interruption or a failure waits for no job
        self._pool.shutdown(cancel_futures=True)
        self._own_end.close()
        self._workers_end.close()
        self._read_end.close()  # nobody reads any more, so that writing ends
        self._handing_out.join()
        self._write_end.close()


def can_be_pickled(value: object) -> bool:
    """Whether a process can be given a value; a lambda or a function of a function cannot."""
    try:
        pickle.dumps(value)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


_worker: list[Callable[[Any], Any]] = []
"""What does the jobs of a worker process; one entry, set when it starts."""


def _start_worker(
    handed_out: Connection, turn: Lock, prepare: Callable[[], None], parent: Connection
) -> None:
    """Prepare a worker process, which ends as soon as its parent does, or closes the other end of a pipe.

    Args:
        handed_out: Gives each process its copy of the work.
        turn: Held by the process that reads it.
        prepare: Called first.
        parent: Ends with the parent.
    """

    def end_with_parent() -> None:
        with suppress(EOFError, OSError):
            parent.recv_bytes()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    prepare()
    with turn:
        _worker[:] = [handed_out.recv()]


def _run_in_worker(job: Any) -> Any:
    return _worker[0](job)


@contextmanager
def _block_ctrl_c() -> Iterator[None]:
    """Start processes in here that Ctrl-C does not reach: a blocked signal is blocked in them, too.

    What comes meanwhile reaches this process afterwards.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
