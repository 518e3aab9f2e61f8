"""Shadow models: nets like the target, each trained on a known random half of the candidates.

They show what a net of this kind, trained in this way, says of an example that it was trained on, and of one
that it was not. They come in pairs: the second net of a pair is trained on the candidates that the first one
was not, so that each candidate is in exactly half of the nets, and all training sets have the same size.
"""

import copy
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quintain.core.errors import ExecutionError, QuintainError, SettingError, TrainingFailedError
from quintain.core.files import sha256, write_atomically
from quintain.core.processes import rank, world_size
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.core.user_code import FAILURES, failure_text
from quintain.core.worker_pool import WorkerPool, can_be_pickled
from quintain.data.dataset import Dataset
from quintain.data.joined import join
from quintain.leakage.confidence import query_confidences
from quintain.models.classifier import Classifier
from quintain.models.fingerprint import fingerprint, function_fingerprint
from quintain.models.sealed_tensors import read_checkpoint, seal_checkpoint

DEFAULT_SHADOWS = 16
"""Half of them with each candidate, half without."""

POLL_SECONDS = 0.5
"""How often a process of ``torchrun`` looks whether the others have written their shadows."""


class ShadowTrainer(Protocol):
    """Trains a net as the target was trained; in worker processes if it can be pickled."""

    def __call__(self, data: Dataset, seed: int) -> nn.Module:
        """Return a net that was trained on ``data``; all random numbers follow from ``seed``."""


@dataclass(frozen=True, slots=True)
class InPlaceTrainer:
    """A ``ShadowTrainer`` of a function that builds a net and one that trains it in place.

    Args:
        build: From a seed to a fresh net.
        train: Trains it in place: net, data, seed.
        device: Where.
    """

    build: Callable[[int], nn.Module]
    train: Callable[[nn.Module, Dataset, int], None]
    device: str = "cpu"

    def __call__(self, data: Dataset, seed: int) -> nn.Module:
        """Build a net, and train it."""
        net = self.build(derive_seed(seed, "shadow", "weights")).to(self.device)
        self.train(net, data, derive_seed(seed, "shadow", "training"))
        return net


@final
class ShadowModels:
    """Trained shadow models, and what they say of the candidates.

    Args:
        nets: One each, in evaluation mode.
        pool: The candidates (N,); a candidate's id is its position here.
        included: Whether each net (rows) was trained on each candidate (columns), (S, N).
        train_size: Number of examples that each net was trained on.
    """

    def __init__(
        self, nets: Sequence[nn.Module], pool: Dataset, included: NDArray[np.bool_], *, train_size: int
    ) -> None:
        if included.shape != (len(nets), len(pool)):
            raise SettingError(
                f"inclusion of shape {included.shape} for {len(nets)} shadow models of {len(pool)} "
                "candidates; expected one row a model and one column a candidate"
            )
        self._classifiers = tuple(
            Classifier(net.eval(), num_classes=pool.num_classes, name=f"shadow {number}")
            for number, net in enumerate(nets)
        )
        self.pool, self.included, self.train_size = pool, included, train_size
        self._confidences: dict[int, NDArray[np.float64]] = {}

    def __len__(self) -> int:
        return len(self._classifiers)

    @property
    def models(self) -> Sequence[Callable[[Tensor], Tensor]]:
        """Each from inputs (B, *S) to logits (B, K), without gradients."""
        return tuple(_without_gradients(model) for model in self._classifiers)

    @property
    def hashes(self) -> tuple[str, ...]:
        """Hash of each model, as a ``Classifier`` has it."""
        return tuple(model.hash for model in self._classifiers)

    def confidences(self, number: int = 0) -> NDArray[np.float64]:
        """Return the log odds (S, N) that each model gives the label of copy ``number`` of each candidate.

        They are computed once, also where the candidates are split.
        """
        if number not in self._confidences:
            x, y = self.pool.tensors
            self._confidences[number] = np.stack(
                [
                    query_confidences(
                        model, x, y, number=number, name=f"shadow model {one + 1} of {len(self)}"
                    )
                    for one, model in enumerate(self.models)
                ]
            )
        return self._confidences[number]

    def columns(self, ids: Tensor, y: Tensor, *, attack: str) -> NDArray[np.int64]:
        """Return the columns (n,) of candidates by their ids.

        Raises:
            SettingError: If they are none of the pool's.
        """
        columns: NDArray[np.int64] = ids.cpu().numpy().astype(np.int64)
        if len(columns) and (columns.min() < 0 or columns.max() >= len(self.pool)):
            raise SettingError(
                f"{attack} got candidates {columns.min()} to {columns.max()} and shadow models of "
                f"{len(self.pool)}; expected ids that are positions in the shadow models' pool"
            )
        if not np.array_equal(self.pool.labels[columns], y.cpu().numpy()):
            raise SettingError(
                f"{attack} got candidates with other labels than the shadow models' pool; expected ids that "
                "are positions in that pool"
            )
        return columns

    def require_apart(self, target_hash: str, train_size: int) -> None:
        """Refuse a target that these models say nothing fair about.

        Raises:
            SettingError: If the target is one of them, or was trained on another number of examples (by more
                than one): confidences follow the size of the training set.
        """
        if target_hash in self.hashes:
            raise SettingError(
                "the target is one of its own shadow models; expected models that were trained apart from it"
            )
        if abs(train_size - self.train_size) > 1:
            raise SettingError(
                f"the target was trained on {train_size} examples and its shadow models on "
                f"{self.train_size}; expected equal numbers: choose as many candidates that are no members "
                "as members"
            )


def _without_gradients(model: Classifier) -> Callable[[Tensor], Tensor]:
    def scores(x: Tensor) -> Tensor:
        with torch.no_grad():
            return model(x)

    return scores


def draw_halves(candidates: int, shadows: int, seed: int) -> NDArray[np.bool_]:
    """Draw which candidates each shadow is trained on, (S, N): pairs of a random half and the other half.

    Raises:
        SettingError: For fewer than two candidates, or a number of shadows that is not even and positive.
    """
    if shadows < 2 or shadows % 2:
        raise SettingError(f"{shadows} shadow models; expected an even number, such as {DEFAULT_SHADOWS}")
    if candidates < 2:
        raise SettingError(f"{candidates} candidates; expected at least two, of which half are trained on")
    included = np.zeros((shadows, candidates), dtype=np.bool_)
    for pair in range(shadows // 2):
        order = np.random.default_rng(derive_seed(seed, "shadow", "half", pair)).permutation(candidates)
        included[2 * pair, order[: candidates // 2]] = True
        included[2 * pair + 1] = ~included[2 * pair]
    return included


def train_shadows(
    train: ShadowTrainer,
    template: nn.Module,
    pool: Dataset,
    *,
    rest: Dataset | None = None,
    count: int = DEFAULT_SHADOWS,
    seed: int = 0,
    folder: Path | None = None,
    workers: int | None = None,
    progress: Progress = no_progress,
) -> ShadowModels:
    """Train shadow models, or read those that are there.

    Each is one file of ``folder``, under a name that is the hash of the data, the candidates that it is
    trained on, its seed, the net and the trainer: a run that is killed goes on with the next one, and none is
    taken for another. Worker processes train several at once; they are spawned, so that a script that calls
    this keeps its own work under ``if __name__ == "__main__":``. What cannot be pickled is trained in this
    process, one after the other. Under ``torchrun`` each process trains its share, and reads the others'.

    Args:
        train: Trains one as the target was trained.
        template: A net of the architecture, whose weights do not matter.
        pool: The candidates; each shadow is trained on half of them.
        rest: Examples that all are trained on, as the target was; none if not given.
        count: How many; even.
        seed: Of halves and trainings.
        folder: Where they are kept, as private as the data; a folder that is removed at the end if not given.
        workers: Processes at once; as many as there are cores if not given, on a GPU one.
        progress: Shows a bar.

    Raises:
        SettingError: For numbers out of range, or several processes of ``torchrun`` without a folder.
        TrainingFailedError: If a training fails, its net is none of the template's architecture, or all
            trainings give the same weights, whatever they are given.
    """
    included = draw_halves(len(pool), count, seed)
    seeds = [derive_seed(seed, "shadow", "net", number) for number in range(count)]
    nets = _train_or_load(
        _Work(train, pool, rest),
        template,
        included,
        seeds,
        folder=folder,
        workers=workers,
        progress=progress,
        label="shadow models",
    )
    size = len(pool) // 2 + (0 if rest is None else len(rest))
    shadows = ShadowModels(nets, pool, included, train_size=size)
    if len(set(shadows.hashes)) == 1:
        raise TrainingFailedError(
            f"the trainings of {count} shadow models{_by(train)} on different halves of {len(pool)} "
            "candidates gave the same weights: nothing was learned of them. Expected a training that takes "
            "what it is given"
        )
    return shadows


def train_or_load(
    train: ShadowTrainer,
    template: nn.Module,
    pool: Dataset,
    included: NDArray[np.bool_],
    *,
    rest: Dataset | None = None,
    seed: int = 0,
    folder: Path | None = None,
    progress: Progress = no_progress,
) -> nn.Module:
    """Train one net on some candidates, or read it, as ``train_shadows`` does: a target of one's own.

    Args:
        train, template, pool, rest, folder, progress: As of ``train_shadows``.
        included: Which candidates it is trained on, (N,).
        seed: Of the training; not that of a shadow, which is derived from its number.
    """
    return _train_or_load(
        _Work(train, pool, rest),
        template,
        included[None],
        [derive_seed(seed, "target", "net")],
        folder=folder,
        workers=1,
        progress=progress,
        label="target model",
    )[0]


def _train_or_load(
    work: "_Work",
    template: nn.Module,
    included: NDArray[np.bool_],
    seeds: Sequence[int],
    *,
    folder: Path | None,
    workers: int | None,
    progress: Progress,
    label: str,
) -> list[nn.Module]:
    """Return the nets of the rows of ``included``, each trained here, by another process, or before."""
    if folder is None:
        if world_size() > 1:
            raise SettingError(
                f"{label} in several processes without a folder; expected one that all of them reach"
            )
        with tempfile.TemporaryDirectory(prefix="shadows-") as scratch:
            return _train_or_load(
                work,
                template,
                included,
                seeds,
                folder=Path(scratch),
                workers=workers,
                progress=progress,
                label=label,
            )
    shared = _shared_parts(work, template)
    paths = [
        folder / f"shadow-{sha256(repr((shared, row.tobytes().hex(), one)).encode())[:32]}.safetensors"
        for row, one in zip(included, seeds, strict=True)
    ]
    with progress.bar(label, len(paths)) as advance:
        missing = [number for number, path in enumerate(paths) if not path.is_file()]
        advance(len(paths) - len(missing))
        mine = [number for number in missing if number % world_size() == rank()]
        jobs = [_Job(np.flatnonzero(included[number]), seeds[number], paths[number]) for number in mine]
        _train_all(work, jobs, workers=workers, advance=advance)
        _wait_for(sorted(set(missing) - set(mine)), paths, advance)
        return [_read(path, template) for path in paths]


@dataclass(frozen=True, slots=True)
class _Work:
    """What all trainings share."""

    train: ShadowTrainer
    pool: Dataset
    rest: Dataset | None

    def run(self, job: "_Job") -> None:
        """Train one shadow, and write its file."""
        half = self.pool.subset(job.rows)
        data = half if self.rest is None else join([half, self.rest], name=self.pool.name)
        try:
            net = self.train(data, job.seed)
        except QuintainError:
            raise
        except FAILURES as error:
            raise TrainingFailedError(
                f"the training of a shadow model{_by(self.train)} on {len(data)} examples failed: "
                f"{failure_text(error)}. Expected a trainer that takes any half of the data"
            ) from error
        if not all(bool(one.isfinite().all()) for one in net.parameters()):
            raise TrainingFailedError(
                f"the training of a shadow model{_by(self.train)} on {len(data)} examples left weights that "
                "are NaN or infinite; expected finite ones: a lower learning rate often helps"
            )
        write_atomically(job.path, seal_checkpoint(net.state_dict(), {}), mode=0o600)


@dataclass(frozen=True, slots=True)
class _Job:
    """One training: the candidates that it takes, its seed, and where its weights go."""

    rows: NDArray[np.int64]
    seed: int
    path: Path


def _shared_parts(work: _Work, template: nn.Module) -> tuple[str, ...]:
    """Return the hashes of all that the shadows of one call have in common."""
    blank = copy.deepcopy(template)
    with torch.no_grad():
        for tensor in blank.state_dict().values():
            tensor.zero_()  # a template stands for its architecture alone
    return (
        "quintain-shadow-1",
        work.pool.hash,
        "" if work.rest is None else work.rest.hash,
        fingerprint(blank.eval()),
        function_fingerprint(work.train),
    )


def _by(train: ShadowTrainer) -> str:
    """Return which function of the user's trains, where its name is known: `` by mine.py:train``."""
    spec = getattr(getattr(train, "train", train), "spec", "")
    return f" by {spec}" if spec else ""


def _train_all(
    work: _Work, jobs: Sequence[_Job], *, workers: int | None, advance: Callable[[int], None]
) -> None:
    """Train in worker processes where there may be several, else here."""
    cores = max(1, (os.cpu_count() or 1) // world_size())
    on_cpu = getattr(work.train, "device", "cpu") == "cpu"
    at_once = min(len(jobs), workers or (cores if on_cpu else 1))
    if at_once <= 1 or not can_be_pickled(work):
        for job in jobs:
            work.run(job)
            advance(1)
        return
    try:
        with WorkerPool(work.run, at_once, partial(torch.set_num_threads, max(1, cores // at_once))) as pool:
            left = {pool.submit(job) for job in jobs}
            while left:
                done, left = wait(left, return_when=FIRST_COMPLETED)
                for one in done:
                    one.result()
                    advance(1)
    except BrokenProcessPool as error:
        raise ExecutionError(
            f"a process that trains shadow models{_by(work.train)} ended early; expected a training that "
            "ends no process (os._exit, a crash of compiled code), enough memory for "
            f"{at_once} at once, and, of a script of yours, its own work under if __name__ == '__main__':"
        ) from error


def _wait_for(numbers: Sequence[int], paths: Sequence[Path], advance: Callable[[int], None]) -> None:
    """Wait until other processes have written their shadows; ``torchrun`` ends all when one of them dies."""
    left = list(numbers)
    while left:
        still = [number for number in left if not paths[number].is_file()]
        advance(len(left) - len(still))
        if len(still) == len(left):
            time.sleep(POLL_SECONDS)
        left = still


def _read(path: Path, template: nn.Module) -> nn.Module:
    """Return the net in a file."""
    _, weights = read_checkpoint(path, "delete it: it is trained again")
    net = copy.deepcopy(template)
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise TrainingFailedError(
            f"a trainer gave a net that is none of {type(template).__name__} as it was built "
            f"({len(weights)} tensors): {failure_text(error)}. Expected the template's "
            "architecture"
        ) from error
    return net.eval()
