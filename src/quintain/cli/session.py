"""What every verb does round its work: the target, the folder, the record, the screen, the exit code."""

import datetime
import shlex
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from quintain.cli.progress import ProgressBars
from quintain.cli.terminal import Terminal
from quintain.core.errors import DataError, ModelError, RunFolderError, SettingError, StorageError
from quintain.core.registry import get_entry
from quintain.core.seeds import derive_seed

if TYPE_CHECKING:
    from torch import nn

    from quintain.data.dataset import Dataset
    from quintain.data.splits import Splits
    from quintain.evaluate.model import EvaluatedModel
    from quintain.evaluate.step import StepOutput
    from quintain.results.records import Record, RequirementResult
    from quintain.results.requirements import Requirement
    from quintain.threats.threat import Threat

RESULT = "result.json"
MARK = "verb"
"""File that says which verb's run is unfinished."""

PROVED = ("linf", "l2")
"""Kinds of threats that certificates know."""


@dataclass(frozen=True)
class Session:
    """One call of a verb.

    Args:
        verb: Its name.
        data: What ``--data`` said.
        model: What ``--model`` said.
        weights: What ``--weights`` said.
        seed: What ``--seed`` said.
        out: What ``--out`` said.
        require: What ``--require`` said.
        split, limit: Which examples; where no split is named, of the test part, or of the first where there is none.
        without: A class whose examples are left out.
        goes_on: The folder, inside the run folder, of a run that was cut off and may go on; empty for a verb that cannot.
    """

    verb: str
    data: str = "xrays"
    model: str = "xray-cnn"
    weights: Path | None = None
    seed: int = 0
    out: Path | None = None
    require: tuple[str, ...] = ()
    split: str = "test"
    limit: int = 0
    without: int | None = None
    goes_on: str = ""

    @cached_property
    def console(self) -> Terminal:
        """Where results are shown."""
        return Terminal()

    @cached_property
    def progress(self) -> ProgressBars:
        """Bars on standard error, so that standard output can be piped."""
        return ProgressBars(Console(stderr=True, emoji=False))

    @cached_property
    def requirements(self) -> tuple["Requirement", ...]:
        """Those of the command line, else those of ``pyproject.toml``; read before any work is done."""
        from quintain.results.requirements import Requirement

        return tuple(Requirement.parse(text) for text in self.require or project_requirements(Path.cwd()))

    @cached_property
    def splits(self) -> "Splits":
        """The data set."""
        from quintain.data import load_data

        return load_data(self.data)

    @cached_property
    def drawn(self) -> "Dataset":
        """The examples that were asked for, of every class."""
        parts = self.splits.as_dict()
        part = self.splits.split(self.split) if self.split else parts.get("test", next(iter(parts.values())))
        return part.sample(self.limit, seed=derive_seed(self.seed, "limit"))

    @cached_property
    def examples(self) -> "Dataset":
        """The examples that the verb looks at.

        Raises:
            SettingError: If the class to be left out is none, or leaves nothing.
        """
        if self.without is None:
            return self.drawn
        labels, names = self.drawn.labels, self.drawn.class_names
        if not 0 <= self.without < len(names):
            raise SettingError(f"--target {self.without}; expected a class from 0 to {len(names) - 1}: {', '.join(names)}")
        rows = [row for row, label in enumerate(labels.tolist()) if label != self.without]
        if not rows:
            raise SettingError(f"--target {self.without}: every example is of class {names[self.without]}; name another class")
        return self.drawn.subset(rows)

    @cached_property
    def train(self) -> "Dataset":
        """Examples to learn from."""
        return self.splits.split("train")

    @cached_property
    def subject(self) -> "EvaluatedModel":
        """The user's model, with weights.

        Raises:
            SettingError: If a registered net was named without weights: an untrained one says nothing.
        """
        from quintain.evaluate.model import named_model
        from quintain.models.loading import is_black_box, load_model

        if self.weights is None and ".py" not in self.model and not is_black_box(self.model):
            get_entry("model", self.model)
            raise SettingError(
                f"--model {self.model} without --weights is an untrained net; give --weights FILE.safetensors "
                "(quintain harden writes one), or --model path/to/file.py:factory that loads its own"
            )
        model = load_model(self.model, self.weights, **self._shape, seed=derive_seed(self.seed, "net"))
        return named_model(model, "model", self.weights.stem if self.weights else self.model, digest="")

    @cached_property
    def folder(self) -> Path:
        """The run folder: new, empty, or that of a run of this verb which was cut off.

        Raises:
            RunFolderError: If it already holds another result, or an unfinished run of another verb.
        """
        if self.out is not None:
            unfinished = bool(self.goes_on) and (self.out / self.goes_on).is_dir()
            if unfinished:
                self._check_mark(self.out / self.goes_on)
            if self.out.exists() and not unfinished and (not self.out.is_dir() or any(self.out.iterdir())):
                raise RunFolderError(f"{self.out} is not an empty folder; choose another --out, or delete it")
            return self.out
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        names = (Path("runs") / f"{day}-{self.verb}{suffix}" for suffix in ("", *(f"-{number}" for number in range(2, 10_000))))
        return next(path for path in names if not path.exists())

    def net(self) -> "nn.Module":
        """A fresh net of the named kind, its first weights drawn from the seed, or the weights given.

        Raises:
            ModelError: If it does not take the data, which is tried before any training, or has trainable parameters of another type than
                float32.
        """
        import torch

        from quintain.models import load_classifier

        model = load_classifier(self.model, self.weights, **self._shape, seed=derive_seed(self.seed, "net"))
        model.predict(self.examples.batch([0])[0])
        for name, parameter in model.net.named_parameters():
            if parameter.requires_grad and parameter.dtype != torch.float32:
                raise ModelError(f"{self.model} has {name!r} in {parameter.dtype}; expected float32 to train in: return net.float()")
        return model.net

    def finish(self, work: Callable[[], "StepOutput"]) -> int:
        """Do the work, store its record, show it, judge it.

        What the command line requires is always judged; of what the project requires, what is about a quantity that the verb speaks of.

        Returns:
            The exit code.
        """
        from quintain.cli.screen import show_record
        from quintain.evaluate.step import raise_if_unsound
        from quintain.results.codec import save
        from quintain.results.gate import decide, exit_code

        requirements, folder, _ = self.requirements, self.folder, self.examples
        with claimed(folder), self._marked(folder):
            record = self._recorded(work)
            known = {claim.bracket.quantity.metric for claim in record.claims}
            asked = [requirement for requirement in requirements if self.require or requirement.metric in known]
            judged: tuple[RequirementResult, ...] = tuple(decide(requirement, record.claims) for requirement in asked)
            record = replace(record, requirements=judged)
            path = folder / RESULT
            save(record, path)
        show_record(self.console, record)
        for requirement in requirements:
            if requirement not in asked:
                self.console.print(f"left to other verbs: {requirement.text}", style="dim", markup=False, soft_wrap=True)
        self.console.print(f"{path}   (quintain report {shlex.quote(str(folder))})", style="dim", markup=False, soft_wrap=True)
        raise_if_unsound(record)
        return exit_code(judged, record.claims)

    def warn(self, lines: Iterable[str]) -> None:
        """Tell the user what is for nobody else, on the screen alone."""
        for line in lines:
            self.console.print(f"warning, for the data's owner only: {line}", style="bold", markup=False, soft_wrap=True)

    def keep_partial(self, make: Callable[[], "StepOutput | None"]) -> None:
        """Store and show what there is of a run that was cut off, marked by its own words; nothing where there is nothing."""
        from quintain.cli.screen import show_record
        from quintain.results.codec import save

        found = make()
        if found is not None:
            record = self._recorded(lambda: found)
            save(record, self.folder / RESULT)
            show_record(self.console, record)
            self.console.print(f"{self.folder / RESULT}   (partial)", style="dim", markup=False, soft_wrap=True)

    def unmark(self, folder: Path) -> None:
        """Remove the place for what is unfinished, if nothing is left in it."""
        place = folder / self.goes_on
        if place.is_dir() and [path.name for path in place.iterdir()] == [MARK]:
            (place / MARK).unlink()
            place.rmdir()

    @contextmanager
    def _marked(self, folder: Path) -> Iterator[None]:
        """What is unfinished says whose it is before it is there."""
        from quintain.core.files import write_atomically

        if not self.goes_on:
            yield
            return
        write_atomically(folder / self.goes_on / MARK, f"{self.verb}\n".encode())
        try:
            yield
        finally:
            self.unmark(folder)

    def _check_mark(self, place: Path) -> None:
        """Raise if another verb's run is unfinished there."""
        mark = place / MARK
        if not any(place.iterdir()):
            return
        try:
            verb = mark.read_text(encoding="utf-8").strip() if mark.is_file() else "a verb that it does not name"
        except UnicodeDecodeError:
            verb = "a verb that it does not name"
        if verb != self.verb:
            raise RunFolderError(f"{place} holds an unfinished run of {verb}, and this is quintain {self.verb}; choose another --out")

    def _recorded(self, work: Callable[[], "StepOutput"]) -> "Record":
        from quintain.evaluate.step import record_step

        return record_step(work, command=command_line(), seed=self.seed, data=(self.examples.name, self.examples.hash))

    @property
    def _shape(self) -> dict[str, int]:
        shape = self.examples.shape
        sizes = {"num_classes": self.examples.num_classes}
        return {**sizes, "channels": shape[0], "size": shape[-1]} if len(shape) == 3 else sizes


def command_line() -> str:
    """How the command was called."""
    return shlex.join(["quintain", *sys.argv[1:]])


def project_requirements(folder: Path) -> tuple[str, ...]:
    """``require`` of ``[tool.quintain]`` in the folder's ``pyproject.toml``, if there is one.

    Raises:
        DataError: If the file cannot be read, or ``require`` is no list of strings.
    """
    path = folder / "pyproject.toml"
    if not path.exists():
        return ()
    try:
        table: object = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}; correct the file, or run from another folder") from None
    for key in ("tool", "quintain"):
        table = table.get(key, {}) if isinstance(table, dict) else {}
    asked = table.get("require", []) if isinstance(table, dict) else table
    if not isinstance(asked, list) or not all(isinstance(line, str) for line in asked):
        raise DataError(f"{path}: [tool.quintain] require = {asked!r}; expected a list of strings")
    return tuple(asked)


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """A run folder that can be written to, made before the work so that none is done in vain; gone again if nothing came of it.

    Raises:
        StorageError: If it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageError(f"cannot write into {folder}: {error.strerror}; choose another folder with --out") from error
    try:
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def threats(tokens: Sequence[str]) -> list["Threat"]:
    """The threats that ``--threat`` named: sizes of one ball, or one family.

    Raises:
        SettingError: If they are of several kinds, or several of a family.
    """
    from quintain.core.threat_specs import threat_type
    from quintain.threats import parse
    from quintain.threats.sizes import sorted_by_size
    from quintain.threats.threat import Threat

    found = [threat for token in dict.fromkeys(tokens) if isinstance(threat := parse(token), Threat)]
    if len({threat_type(threat.spec) for threat in found}) != 1:
        raise SettingError(f"threats {', '.join(tokens)}; expected sizes of one ball, such as --threat linf:2/255 --threat linf:4/255")
    return sorted_by_size(found)


def balls(tokens: Sequence[str]) -> list["Threat"]:
    """The same, where something is to be proved: Linf or L2.

    Raises:
        SettingError: If one is of another kind: nothing is proved of it.
    """
    from quintain.core.threat_specs import threat_name

    found = threats(tokens)
    for threat in found:
        if threat_name(threat.spec) not in PROVED:
            raise SettingError(
                f"{threat.spec}: nothing is proved of {threat_name(threat.spec)}; give a size of {' or '.join(PROVED)}, or attack it"
            )
    return found
