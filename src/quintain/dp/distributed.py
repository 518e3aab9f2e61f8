"""Private training by several processes: common batches and noise, each process clips its own records."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, distributed, nn

from quintain.core.errors import PrivacyError
from quintain.dp.randomness.stream import RandomStream

MESSAGE_WIDTH = 24
"""Numbers in each message; all have one size, so that a process that refuses can answer any of them."""

REFUSAL = -1
"""What a process that refuses sends in place of its numbers, none of which is negative."""

_REFUSING_TOGETHER: ContextVar[bool] = ContextVar("inside a block that refuses together", default=False)

P = ParamSpec("P")
T = TypeVar("T")


class PeerRefusedError(PrivacyError):
    """Another process that trains with this one has refused; its own message says why."""


@dataclass(frozen=True, slots=True)
class World:
    """The processes that train together, as this one sees them; they use the default process group.

    Args:
        rank: Its number; 0 adds the noise.
        size: How many there are.
        device: Where their messages are made.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def shard(self, rows: Any) -> Any:
        """This process' shard of the rows: every ``size``-th, from its rank on."""
        return rows[self.rank :: self.size]

    def all_reduce_sum(self, x: Tensor) -> None:
        """Replace a tensor, in place, by its sum over all processes, the same bits for each."""
        if self.size > 1:
            distributed.all_reduce(x)

    def broadcast_stream(self, stream: RandomStream) -> RandomStream:
        """The random stream with the key of the first process, which it broadcasts.

        Raises:
            PeerRefusedError: If one of them has refused.
        """
        self.check_same_on_all()
        return stream if self.size == 1 else stream.with_key_from(self._broadcast_bytes)

    def all_gather_bytes(self, data: bytes) -> bytes:
        """The bytes of all processes, by rank; each must give the same number."""
        if self.size == 1:
            return data
        mine = torch.tensor(list(data), dtype=torch.uint8, device=self.device)
        received = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(received, mine)
        return b"".join(bytes(part.tolist()) for part in received)

    def check_same_on_all(self, settings: Mapping[str, object] | None = None, hint: str = "") -> None:
        """Check that settings are the same on all processes, and that none has refused.

        Numbers are compared to nine digits, all else by its ``repr``.

        Args:
            settings: What this process does, by name; none only hears whether another has refused.
            hint: What to do where they differ.

        Raises:
            PeerRefusedError: If another has refused.
            PrivacyError: In each of them, if they differ; it says in what.
        """
        if self.size == 1:
            return
        settings = settings or {}
        received = self.all_gather_numbers(
            [_digest(f"{name}: {stable_text(value)}") for name, value in settings.items()]
        )
        differ = [name for at, name in enumerate(settings) if len({given[at] for given in received}) > 1]
        if differ:
            here = "; ".join(
                f"{name} (process {self.rank}: {_shorten(stable_text(settings[name]))})" for name in differ
            )
            raise PrivacyError(
                f"the processes differ in their {here}; expected all {self.size} to run the same program, "
                f"with the same settings, on the same data{hint}"
            )
        if len(set(received)) > 1:
            raise PrivacyError(
                f"the processes are not at the same place; expected all {self.size} to run the same program"
            )

    def all_gather_numbers(self, numbers: Sequence[int]) -> list[tuple[int, ...]]:
        """What each process gives, by rank; numbers from 0, at most ``MESSAGE_WIDTH`` of them.

        Raises:
            PeerRefusedError: If another has refused.
        """
        received = self._all_gather_padded(numbers)
        refused = [str(rank) for rank, given in enumerate(received) if REFUSAL in given]
        if refused:
            raise PeerRefusedError(
                f"process {', '.join(refused)} of {self.size} has refused, and the others with it; expected "
                "all to run the same program on the same data: its own message says what it got"
            )
        return received

    @contextmanager
    def refusing_together(self) -> Iterator[None]:
        """A context in which an error of one process is one of all: the others raise too, and do not wait.

        Raises:
            PeerRefusedError: If another has refused.
        """
        if self.size == 1 or _REFUSING_TOGETHER.get():
            yield
            return
        token = _REFUSING_TOGETHER.set(True)
        try:
            yield
        except PeerRefusedError:
            raise
        except Exception:  # whatever it is, the others wait at a collective until they hear of it
            self._all_gather_padded((REFUSAL,))
            raise
        finally:
            _REFUSING_TOGETHER.reset(token)

    def _all_gather_padded(self, numbers: Sequence[int]) -> list[tuple[int, ...]]:
        """The numbers of all processes, by rank, padded with zeros."""
        mine = torch.zeros(MESSAGE_WIDTH, dtype=torch.long, device=self.device)
        mine[: len(numbers)] = torch.tensor(numbers, dtype=torch.long)
        received = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(received, mine)
        return [tuple(given.tolist()) for given in received]

    def _broadcast_bytes(self, data: bytes) -> bytes:
        """The bytes of the first process."""
        message = torch.tensor(list(data), dtype=torch.uint8, device=self.device)
        distributed.broadcast(message, src=0)
        return bytes(message.tolist())


SINGLE_PROCESS = World()


class DifferentiallyPrivateDistributedDataParallel(nn.Module):
    r"""A module that all processes of a ``torchrun`` train together, from the weights of the first one.

    Each process clips its shard of one Poisson batch, :math:`B_t = \bigcup_r B_t^r`; the sums are added over
    the processes, noise is added once, and every process makes the same step:

    .. math:: \tilde g = \frac{1}{b} \Big(
        \sum_r \sum_{i \in B_t^r} \mathrm{clip}_C(g_i) + \sigma C\, \mathcal{N}(0, I) \Big)

    ``expected_batch_size`` and the ledger are those of the whole run. Processes trust each other: they share
    the secret key.

    They agree on all settings and on the data in ``make_private``, and on bound, noise and place at every
    step: where they differ, as when a schedule steps in the first alone, all refuse. Of the data are compared
    the length, the rows of subsets, tensors in memory, and some records as they are read; of the rest it is
    assumed that all hold the same (see ``PrivacyReport.assumptions``).

    What one process refuses in ``make_private`` or in a step, all refuse (``PeerRefusedError`` in the
    others). What one refuses in its forward or backward pass ends that process alone: ``torchrun`` then stops
    the others, and without it they wait for the time-out of their group
    (``init_process_group(timeout=...)``).

    Args:
        module: What to train; on the device of its process.

    Raises:
        PrivacyError: If there is no process group.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        if not (distributed.is_available() and distributed.is_initialized()):
            raise PrivacyError(
                "got no process group; expected torchrun --nproc-per-node N script.py, and "
                "torch.distributed.init_process_group() in it"
            )
        current_world().check_same_on_all()
        self.module = module
        with torch.no_grad():
            for tensor in (*module.parameters(), *module.buffers()):
                distributed.broadcast(tensor.data, src=0)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


def stable_text(value: object) -> str:
    """A text that is the same in every process, without addresses and last digits of numbers."""
    return f"{value:.9g}" if isinstance(value, float) else re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def _digest(text: str) -> int:
    """A number from 0 that fits into a message."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def _shorten(text: str, most: int = 100) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def current_world() -> World:
    """All processes of the default group, or this one alone."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return SINGLE_PROCESS
    own = (
        torch.device("cuda", torch.cuda.current_device())
        if distributed.get_backend() == "nccl"
        else torch.device("cpu")
    )
    return World(distributed.get_rank(), distributed.get_world_size(), own)


def together(method: Callable[P, T]) -> Callable[P, T]:
    """Decorate a method so that an error in one process is one in all (see ``World.refusing_together``)."""

    @wraps(method)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        with current_world().refusing_together():
            return method(*args, **kwargs)

    return called


def world_of(module: nn.Module) -> World:
    """The processes that train ``module`` together.

    Raises:
        PrivacyError: If there are several, and ``module`` is not made for them.
    """
    if isinstance(module, nn.parallel.DistributedDataParallel):
        raise PrivacyError(
            "got a DistributedDataParallel, which waits for plain gradients; expected "
            "DifferentiallyPrivateDistributedDataParallel(module)"
        )
    world = current_world()
    if world.size > 1 and not isinstance(module, DifferentiallyPrivateDistributedDataParallel):
        raise PrivacyError(
            f"got {world.size} processes and a module of this one alone; expected "
            "DifferentiallyPrivateDistributedDataParallel(module): each process by itself would spend its "
            "own epsilon on the same records"
        )
    return world
