"""Certify in several processes at once, since what takes long gains nothing from more threads."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from types import TracebackType
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor

from quintain.certify.outcome import CertificateOutcome, Certifier, is_expensive, tracing
from quintain.certify.radius_search import search_radius
from quintain.core.errors import ExecutionError
from quintain.core.processes import world_size
from quintain.core.user_code import FAILURES
from quintain.core.worker_pool import WorkerPool, can_be_pickled
from quintain.evaluate.model import EvaluatedModel
from quintain.evaluate.pacing import work_clock
from quintain.models.classifier import Classifier
from quintain.models.memory import is_out_of_memory
from quintain.models.precision import plain_products
from quintain.models.protocol import ClassifierLike
from quintain.models.sealed_tensors import seal_checkpoint
from quintain.threats.threat import Threat

MIN_SECONDS = 15.0
"""About how many seconds of work are left where processes, which take some seconds to start, are worth it."""

SECONDS_EACH = 5.0
"""Of that work, for each process beside this one, so that a machine of many cores does not start too many."""

JOBS_PER_PROCESS = 2
"""Jobs that a process has at once, so that it does not wait for the next one."""

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class CertifierTask:
    """The work of a certifier on some examples.

    Args:
        certifier: The certifier.
        threat: What may be changed.
        radii: Sizes that are decided exactly, in search of the largest certified one; None if only the
            threat's own size is decided.
        search: Whether the largest certified size between them is searched for, too.
    """

    certifier: Certifier
    threat: Threat
    radii: tuple[float, ...] | None = None
    search: bool = False

    def run(
        self, model: ClassifierLike, certify: Callable[..., CertificateOutcome], x: Tensor, y: Tensor
    ) -> CertificateOutcome:
        """Certify inputs ``x`` (B, *S) with labels ``y`` (B,).

        Args:
            model: The model.
            certify: The certifier's call on it, by ``tracing``.
            x, y: The examples.
        """
        with plain_products(model.device):
            if self.radii is None:
                with torch.no_grad():
                    return certify(x, y, self.threat)
            return search_radius(certify, x, y, self.threat, radii=self.radii, search=self.search)


class CertifierAnswer(NamedTuple):
    """What a certifier says of some examples, and how many seconds that took, and by ``work_clock``."""

    outcome: CertificateOutcome
    seconds: float
    work_seconds: float


class CertifyWorkers:
    """Processes that certify examples of some models beside this process, each on one thread.

    They are started where there is work for ``MIN_SECONDS`` or more, and only for certifiers of the model
    itself that take long, and for nets on the CPU of which it is known how they are built. Each of them
    builds the net, gets the weights, and does nothing unless its net has the hash of this one. It certifies
    what this process would, since every example is certified by itself. Where they could be of use this
    process computes on one thread, too, until the ``with`` block ends.

    Args:
        subjects: The models.
        processes: How many processes there are, this one included.
    """

    def __init__(self, subjects: Sequence[EvaluatedModel], processes: int) -> None:
        self._subjects = {one.name: one for one in subjects if _can_be_built(one)}
        self._others = processes - 1 if world_size() == 1 else 0
        self._pool: WorkerPool[_Job, _Reply | None] | None = None
        self._stack, self._on_one_thread = ExitStack(), False

    def __enter__(self) -> "CertifyWorkers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def processes(self) -> int:
        """How many processes there are, this one included."""
        return 1 if self._pool is None else 1 + self._others

    def start_if_useful(self, subject: EvaluatedModel, certifier: Certifier, seconds: float) -> bool:
        """Start the processes if they are worth it, and return whether there are some for this.

        Args:
            subject: The model.
            certifier: What certifies it.
            seconds: About how long this process alone would take.
        """
        takes_long = is_expensive(certifier) and getattr(certifier, "subject", "model") == "model"
        can_be_given = subject.name in self._subjects and can_be_pickled(certifier)
        if not (self._others and takes_long and can_be_given):
            return False
        if not self._on_one_thread:
            # another thread would gain nothing, and on a busy machine cost as much again
            self._on_one_thread = True
            self._stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
        if self._pool is None and seconds >= MIN_SECONDS:
            self._others = min(self._others, max(1, int(seconds / SECONDS_EACH)))
            copies = {name: _NetCopy.of(one) for name, one in self._subjects.items()}
            self._pool = self._stack.enter_context(
                WorkerPool(_Worker(copies), self._others, partial(torch.set_num_threads, 1))
            )
        return self._pool is not None

    def can_take_more(self, num_given: int) -> bool:
        """Whether they can be given another job beside those that they have."""
        return num_given < JOBS_PER_PROCESS * self._others

    def part_size(self, usual: int, left: int, smallest: int) -> int:
        """Return how many examples are certified at once: ``usual``, or fewer where few are left.

        The last parts are small, so that no process waits long for another one.

        Args:
            usual: How many one process takes at once.
            left: How many are left for all.
            smallest: How many are worth a call of the certifier.
        """
        return usual if self.processes == 1 else min(usual, max(smallest, left // self.processes))

    def submit(
        self, subject: EvaluatedModel, task: CertifierTask, x: Tensor, y: Tensor
    ) -> "Future[_Reply | None]":
        """Let a process certify some examples.

        Raises:
            ExecutionError: If one ended by itself.
        """
        assert self._pool is not None
        with _explain_early_end():
            return self._pool.submit(_Job(subject.name, task, x.cpu().numpy(), y.cpu().numpy()))

    def give_up(self) -> None:
        """Give the processes no more jobs."""
        self._others = 0


@dataclass(frozen=True, slots=True)
class Sharing(Generic[Part]):
    """How parts of a certification are shared with other processes.

    Args:
        workers: The processes.
        subject: The model.
        certifier: The certifier.
        task: The work on a part.
        examples: Inputs (B, *S) and labels (B,) of a part.
    """

    workers: CertifyWorkers
    subject: EvaluatedModel
    certifier: Certifier
    task: Callable[[Part], CertifierTask]
    examples: Callable[[Part], tuple[Tensor, Tensor]]


def share_out(
    next_part: Callable[[int], Part | None],
    here: Callable[[Part], None],
    finish: Callable[[Part, CertifierAnswer], None],
    *,
    seconds_left: Callable[[], float],
    sharing: Sharing[Part] | None,
) -> None:
    """Certify one part after another, here and in other processes, until there is none left.

    Args:
        next_part: Returns the next part, given how many it has to wait for; None if there is none now. What
            other parts find may make one.
        here: Certifies a part in this process, and notes what was found.
        finish: Notes what another process found.
        seconds_left: About how long all that is left would take here; asked when two parts are done.
        sharing: With which other processes; None for none.

    Raises:
        ExecutionError: If another process ended by itself.
        QuintainError: Whatever a process raises, in this one.
    """
    given: dict[Future[_Reply | None], Part] = {}
    num_done = 0
    while True:
        # the first part says little of the rest: what is computed once for all is in its time
        seconds = seconds_left() if num_done > 1 else 0.0
        shared = sharing if sharing is not None and _start_if_useful(sharing, seconds) else None
        # the others first, so that they compute while this process does
        while shared is not None and shared.workers.can_take_more(len(given)):
            part = next_part(len(given))
            if part is None:
                break
            given[shared.workers.submit(shared.subject, shared.task(part), *shared.examples(part))] = part
        part = next_part(0)
        if part is not None:
            here(part)
            num_done += 1
        elif not given:
            return
        else:
            wait(given, return_when=FIRST_COMPLETED)
        for future in [one for one in given if one.done()]:
            part = given.pop(future)
            with _explain_early_end():
                reply = future.result()
            if reply is not None:
                finish(part, reply.answer())
            else:
                # the other process has no such net, or no memory for so many examples
                assert sharing is not None
                sharing.workers.give_up()
                here(part)
            num_done += 1


def _start_if_useful(sharing: Sharing[Any], seconds: float) -> bool:
    return sharing.workers.start_if_useful(sharing.subject, sharing.certifier, seconds)


def _can_be_built(subject: EvaluatedModel) -> bool:
    """Whether another process can have the same net: one on the CPU, of which it is known how it is built."""
    return (
        isinstance(subject.model, Classifier)
        and subject.build is not None
        and subject.model.device.type == "cpu"
        and all(isinstance(value, Tensor) for value in subject.model.net.state_dict().values())
        and can_be_pickled(subject.build)
    )


@dataclass(frozen=True, slots=True)
class _NetCopy:
    """What another process needs to have the same net: how it is built, its weights, and its hash."""

    build: Callable[[], Classifier]
    weights: bytes
    model_hash: str

    @classmethod
    def of(cls, subject: EvaluatedModel) -> "_NetCopy":
        """Return that of a model that ``_can_be_built``."""
        model, build = subject.model, subject.build
        assert isinstance(model, Classifier)
        assert build is not None
        return cls(build, seal_checkpoint(model.net.state_dict(), {}), model.hash)

    def load(self) -> Classifier | None:
        """Return the net; None if it is another one, or cannot be built here."""
        try:
            model = self.build()
            model.net.load_state_dict(load(self.weights))
        except FAILURES:  # a user's file may do anything in another process; this one then does the work
            return None
        return model if model.hash == self.model_hash else None


class _Job(NamedTuple):
    """A task, the name of the model, and inputs (B, *S) and labels (B,)."""

    model: str
    task: CertifierTask
    x: np.ndarray
    y: np.ndarray


class _Reply(NamedTuple):
    """An answer whose tensors are arrays, of which copies are handed from process to process."""

    fields: dict[str, Any]
    seconds: float
    work_seconds: float

    @classmethod
    def of(cls, outcome: CertificateOutcome, seconds: float, work_seconds: float) -> "_Reply":
        """Return that of an outcome."""
        values = {one.name: getattr(outcome, one.name) for one in fields(outcome)}
        return cls(
            {
                name: value.detach().cpu().numpy() if isinstance(value, Tensor) else value
                for name, value in values.items()
            },
            seconds,
            work_seconds,
        )

    def answer(self) -> CertifierAnswer:
        """Return the answer."""
        values: dict[str, Any] = {
            name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for name, value in self.fields.items()
        }
        return CertifierAnswer(CertificateOutcome(**values), self.seconds, self.work_seconds)


@dataclass(slots=True)
class _Worker:
    """What does the jobs of another process.

    Args:
        copies: The models, by name.
        models: Those that were asked for, each None where there is none.
        traced: The last one's operations, by model and certifier: tables of several would fill memory.
    """

    copies: Mapping[str, _NetCopy]
    models: dict[str, Classifier | None] = field(default_factory=dict)
    traced: dict[tuple[str, str], Callable[..., CertificateOutcome]] = field(default_factory=dict)

    def __call__(self, job: _Job) -> _Reply | None:
        """Certify some examples; None if there is no such net here, or no memory for so many."""
        if job.model not in self.models:
            self.models[job.model] = self.copies[job.model].load()
        model, key = self.models[job.model], (job.model, repr(job.task.certifier))
        if model is None:
            return None
        clock = work_clock(model)
        started, began = time.monotonic(), clock()
        try:
            if key not in self.traced:
                self.traced = {key: tracing(job.task.certifier, model)}
            x, y = torch.from_numpy(job.x), torch.from_numpy(job.y)
            outcome = job.task.run(model, self.traced[key], x, y)
        except Exception as error:  # each backend has a class of its own for a lack of memory
            if not is_out_of_memory(error):
                raise
            return None
        return _Reply.of(outcome, time.monotonic() - started, clock() - began)


@contextmanager
def _explain_early_end() -> Iterator[None]:
    """Explain in an error why a worker process ended early, and what to do.

    Raises:
        ExecutionError: If a worker process ended early.
    """
    try:
        yield
    except BrokenProcessPool as error:
        raise ExecutionError(
            "a process that certifies examples ended early; expected enough memory for several at once: with "
            "OMP_NUM_THREADS=1 in the environment there is no other process; and, of a script of yours, its "
            "own work under if __name__ == '__main__':"
        ) from error
