"""Certify examples in chunks of some seconds, and save every finished chunk.

An interrupted run can then resume.
"""

import io
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from quintain.certify.outcome import CertificateOutcome
from quintain.core.errors import RunFolderError
from quintain.core.files import read_bytes, write_atomically
from quintain.evaluate.certify_workers import CertifierAnswer, Sharing, share_out
from quintain.evaluate.chunk_settings import check_chunk_settings, save_chunk_settings
from quintain.evaluate.pacing import Pace
from quintain.models.memory import in_fitting_parts
from quintain.results.run_layout import CERTIFICATE_SETTINGS_FILE
from quintain.version import __version__


@dataclass(frozen=True, slots=True, eq=False)
class CertificateChunk:
    """The certificates of n examples.

    Args:
        rows: Their rows in the data set.
        radius: Certified radii, 0 where nothing is certified.
        failed: Where an output or a bound is no number.
        forwards: Forward passes of the model.
        abstained: The largest requested radii that noise samples did not decide, 0 where they decided all.
        assumptions: What must be true for the certificates to hold, as an array of text.
        seconds: Wall time.
        counterexamples: Inputs that the certifier found to break an example, each with the example's row.
    """

    rows: np.ndarray
    radius: np.ndarray
    failed: np.ndarray
    forwards: np.ndarray
    abstained: np.ndarray
    assumptions: np.ndarray
    seconds: float
    counterexamples: tuple[tuple[int, np.ndarray], ...] = ()


_COLUMNS = tuple(name for name in CertificateChunk.__slots__ if name != "counterexamples")
"""What a file holds of every chunk."""

_BROKEN_ROWS, _INPUTS = "broken_rows", "inputs"
"""What it holds besides where there are counterexamples: rows (K,) and inputs (K, *S)."""


class CertificateStore:
    """The finished certificates of a run, kept in a folder that may hold chunks of attacks as well.

    Args:
        folder: Where; made with the first chunk.
        settings: Settings of the run; certificates of a run of other settings are refused.

    Raises:
        RunFolderError: If the folder holds certificates of other settings; the difference is named.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        self._folder, self._settings = folder, {"quintain": __version__, **settings}
        check_chunk_settings(folder / CERTIFICATE_SETTINGS_FILE, self._settings)

    def get(self) -> list[CertificateChunk]:
        """Return the finished chunks in the order of their rows.

        Raises:
            RunFolderError: If one is damaged.
        """
        return [_decode(path) for path in sorted(self._folder.glob("certified-*.npz"))]

    def put(self, chunk: CertificateChunk) -> None:
        """Save a chunk of at least one example, whole or not at all."""
        save_chunk_settings(self._folder / CERTIFICATE_SETTINGS_FILE, self._settings)
        buffer = io.BytesIO()
        columns = {name: getattr(chunk, name) for name in _COLUMNS}
        if chunk.counterexamples:
            rows, inputs = zip(*chunk.counterexamples, strict=True)
            columns.update({_BROKEN_ROWS: np.array(rows), _INPUTS: np.stack(inputs)})
        np.savez(buffer, allow_pickle=False, **columns)
        write_atomically(self._folder / f"certified-{int(chunk.rows[0]):09d}.npz", buffer.getvalue())


def certify_in_chunks(
    certify: Callable[[np.ndarray], CertificateOutcome],
    count: int,
    *,
    batch_size: int,
    store: CertificateStore | None = None,
    pace: Pace | None = None,
    advance: Callable[[int], None] = lambda _count: None,
    clock: Callable[[], float] = time.perf_counter,
    sharing: Sharing[np.ndarray] | None = None,
) -> CertificateChunk:
    """Certify all examples of a data set, some at a time.

    Args:
        certify: Certifies the examples of some rows.
        count: How many examples there are.
        batch_size: Most examples at a time.
        store: Where chunks are saved, and found again.
        pace: How many are certified next; ``batch_size`` if not given.
        advance: Told of each example that is done and was not reported by ``certify`` itself.
        clock: Seconds of work.
        sharing: Other processes that take some of the chunks.

    Raises:
        KeyboardInterrupt: With what is kept, in words.
    """
    chunks = store.get() if store is not None else []
    done = np.zeros(count, bool)
    for chunk in chunks:
        done[chunk.rows] = True
        advance(len(chunk.rows))
    taken = done.copy()

    def next_rows(_waiting: int) -> np.ndarray | None:
        left = np.flatnonzero(~taken)
        size = min(batch_size, pace.next_size(len(left)) if pace else batch_size)
        if sharing is not None:
            size = sharing.workers.part_size(size, len(left), smallest=pace.smallest if pace else 1)
        rows = left[:size]
        taken[rows] = True
        return rows if len(rows) else None

    def keep(chunk: CertificateChunk) -> None:
        if pace is not None:
            pace.record(len(chunk.rows), chunk.seconds)
        if store is not None:
            store.put(chunk)
        chunks.append(chunk)
        done[chunk.rows] = True

    def here(rows: np.ndarray) -> None:
        timed = partial(_time, certify, rows, clock)
        for chunk in in_fitting_parts(timed, len(rows), work="certification"):
            keep(chunk)

    def finish(rows: np.ndarray, answer: CertifierAnswer) -> None:
        keep(_chunk(rows, answer.outcome, answer.work_seconds))
        advance(len(rows))

    def seconds_left() -> float:
        return chunks[-1].seconds / len(chunks[-1].rows) * int((~taken).sum())

    try:
        share_out(next_rows, here, finish, seconds_left=seconds_left, sharing=sharing)
    except KeyboardInterrupt:
        kept = int(done.sum()) if store is not None else 0
        raise KeyboardInterrupt(f"certificates of {kept} of {count} examples" if kept else "") from None
    return _merge(chunks, count)


def _merge(chunks: Sequence[CertificateChunk], count: int) -> CertificateChunk:
    """Return the certificates of all examples as one chunk."""
    merged = CertificateChunk(
        rows=np.arange(count),
        radius=np.zeros(count),
        failed=np.zeros(count, bool),
        forwards=np.zeros(count, np.int64),
        abstained=np.zeros(count),
        assumptions=chunks[-1].assumptions if chunks else np.zeros(0, "<U1"),
        seconds=sum(chunk.seconds for chunk in chunks),
        counterexamples=tuple(
            sorted((pair for chunk in chunks for pair in chunk.counterexamples), key=lambda pair: pair[0])
        ),
    )
    for chunk in chunks:
        for name in ("radius", "failed", "forwards", "abstained"):
            getattr(merged, name)[chunk.rows] = getattr(chunk, name)
    return merged


def _time(
    certify: Callable[[np.ndarray], CertificateOutcome],
    rows: np.ndarray,
    clock: Callable[[], float],
    part: slice,
) -> CertificateChunk:
    """Certify some of the rows."""
    started = clock()
    outcome = certify(rows[part])
    return _chunk(rows[part], outcome, clock() - started)


def _chunk(rows: np.ndarray, outcome: CertificateOutcome, seconds: float) -> CertificateChunk:
    """Return what is kept of an outcome."""
    assert outcome.radius is not None
    return CertificateChunk(
        rows=rows,
        radius=outcome.radius.cpu().numpy(),
        failed=outcome.failed.cpu().numpy(),
        forwards=outcome.forwards.cpu().numpy(),
        abstained=(
            np.zeros(len(rows))
            if outcome.abstained_radius is None
            else outcome.abstained_radius.cpu().numpy()
        ),
        assumptions=np.array(outcome.assumptions, dtype=np.str_),
        seconds=seconds,
        counterexamples=list_counterexamples(outcome, rows),
    )


def list_counterexamples(outcome: CertificateOutcome, rows: np.ndarray) -> tuple[tuple[int, np.ndarray], ...]:
    """Return the inputs that a certifier found to break examples, each with the example's row.

    Args:
        outcome: What the certifier says of n examples.
        rows: Their rows in the data set (n,).
    """
    if outcome.counterexample is None:
        return ()
    broken = outcome.broken.cpu().numpy()
    inputs = outcome.counterexample.cpu().numpy()[broken]
    return tuple((int(row), one) for row, one in zip(rows[broken], inputs, strict=True))


@dataclass(frozen=True, slots=True)
class InnerProgress:
    """Progress that goes on with an open bar.

    Args:
        advance: Of the open bar.
        show: Shows a few words beside it.
    """

    advance: Callable[[int], None]
    show: Callable[[str], None]

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        """Go on with the open bar."""
        yield self.advance

    def set_status(self, text: str) -> None:
        """Show a few words beside the open bar."""
        self.show(text)


def _decode(path: Path) -> CertificateChunk:
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as held:
            columns = {name: held[name] for name in _COLUMNS}
            found = zip(held[_BROKEN_ROWS], held[_INPUTS], strict=True) if _BROKEN_ROWS in held else ()
            counterexamples = tuple((int(row), one) for row, one in found)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
        raise RunFolderError(
            f"{path} is damaged; delete it, and the same command does that part again"
        ) from None
    columns["seconds"] = float(columns["seconds"])
    return CertificateChunk(**columns, counterexamples=counterexamples)
