"""One call of a command: its requirements, and what is done around its work."""

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from quintain.cli.ci_files import note_folder, note_requirements
from quintain.cli.console import ProgressBars, Terminal, error_console
from quintain.cli.inputs import CallInputs
from quintain.cli.project_settings import ProjectSettings, find_project_settings, sources_text
from quintain.cli.run_folder import (
    choose_folder,
    command_line,
    mark_unfinished,
    resume_command,
    writable_folder,
)
from quintain.cli.run_settings import current_settings, save_settings
from quintain.core.errors import ExecutionError, ExitCode
from quintain.core.processes import world_size
from quintain.core.threat_specs import threat_type
from quintain.results.requirements import Requirement
from quintain.results.run_layout import RESULT_FILE, VERB_FILE
from quintain.results.verdict import RunVerdict, UndecidedRule

if TYPE_CHECKING:
    from quintain.evaluate.step import StepOutput
    from quintain.results.records import Record


TRAIN_NOTE = (
    "These are examples of the train split: a model that was trained on them is right on more of them, and "
    "under larger changes, than on others."
)
"""What a record says where the examples are those that a model may have been trained on."""


@dataclass(frozen=True, kw_only=True)
class VerbCall(CallInputs):
    """One call of a command that evaluates something: its inputs, and what is done around its work.

    Args:
        verb: Name of the command.
        out, require, undecided: The options of these names.
        resume_dir: Subfolder of the run folder with the state of an interrupted run; empty if the command
            cannot resume.
        keeps_data_secret: Whether the record names the examples by a hash with a secret salt, since they are
            those that the model was trained on; for commands that resume.
    """

    verb: str
    out: Path | None = None
    require: tuple[str, ...] = ()
    undecided: UndecidedRule | None = None
    resume_dir: str = ""
    keeps_data_secret: bool = False

    @classmethod
    def of(cls, verb: str, options: Mapping[str, object]) -> "VerbCall":
        """Return the call of a command.

        Args:
            verb: Name of the command.
            options: The values of its options by name; those without a field of that name are left out.
        """
        names = {one.name for one in fields(cls)}
        given = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in options.items()
            if name in names and value is not None
        }
        return cls(verb=verb, **given)  # type: ignore[arg-type]

    @cached_property
    def console(self) -> Terminal:
        """Where results are shown."""
        return Terminal()

    @cached_property
    def progress(self) -> ProgressBars:
        """Progress on standard error, so that standard output can be piped."""
        return ProgressBars(error_console())

    @cached_property
    def project(self) -> ProjectSettings:
        """The settings of the project that the command is run in."""
        return find_project_settings(Path.cwd())

    @cached_property
    def requirements(self) -> tuple[Requirement, ...]:
        """The requirements of the project and of the command line, without duplicates.

        Read them before any work is done, so that a wrong one is refused early.
        """
        own = (Requirement.state(text) for text in self.require)
        stated = tuple({one.text: one for one in (*self.project.require, *own)}.values())
        note_requirements(stated)
        return stated

    @property
    def undecided_rule(self) -> UndecidedRule:
        """Whether an undecided requirement fails the run or warns."""
        return self.undecided or self.project.undecided or "fail"

    def announce_requirements(self) -> None:
        """Say how many requirements there are, and which file states them."""
        text = sources_text(self.requirements, self.project.path)
        if text:
            self.print_dim(text)

    @cached_property
    def folder(self) -> Path:
        """The run folder: new, empty, or that of an interrupted run of the same command."""
        folder = choose_folder(self.verb, self.out, self.resume_dir)
        note_folder(folder)
        return folder

    def announce(self) -> None:
        """Say where results are written, and how to resume after an interruption.

        Call it once all options are checked.
        """
        text = (
            f"writing to {self.folder}. To resume after an interruption: "
            f"{resume_command(self.out, self.folder)}"
        )
        self.print_dim(text)

    def run(self, work: "Callable[[], StepOutput]") -> int:
        """Do the work, judge its record by the requirements, store it, show it.

        Once the record is stored, the state of an unfinished run is deleted, even if an alarm follows. It is
        kept if there is no record, or if the run stopped early.

        Returns:
            The exit code.

        Raises:
            KeyboardInterrupt: After Ctrl-C or SIGTERM; its text says what is kept and how to resume.
            SoundnessError: If the record contradicts itself; it has been stored and shown by then.
        """
        from quintain.dp.training.resume import delete_unfinished
        from quintain.results.gate import early_stops

        folder = self._check_inputs()
        settings = current_settings()
        self.announce_requirements()
        self.print_device()
        try:
            with self._lock_folder(), mark_unfinished(folder, self.verb, self.resume_dir):
                record = self.decide(self._record(work))
                self._store(record)
                # A salted hash cannot be compared once its salt is deleted: dates of files are, instead.
                save_settings(folder, settings, {} if self.keeps_data_secret else self.data_options)
                if self.resume_dir and not list(early_stops([record.result])):
                    delete_unfinished(self.unfinished)
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(self._kept_text(str(stop))) from None
        return self._finish(record, f"quintain report {shlex.quote(str(folder))}")

    def _check_inputs(self) -> Path:
        """Refuse wrong requirements, devices and examples before any work, and return the run folder."""
        _, _, folder, _ = self.requirements, self.torch_device, self.folder, self.examples
        return folder

    @contextmanager
    def _lock_folder(self) -> Iterator[None]:
        """Make the run folder, and keep other processes out of it.

        Raises:
            RunFolderError: If another process works there, or has finished since the folder was chosen.
        """
        with writable_folder(self.folder, is_named=self.out is not None):
            # Checked again under the lock, except where several processes of one run share its folder.
            if self.out is not None and world_size() == 1:
                choose_folder(self.verb, self.out, self.resume_dir)
            yield

    def run_resumable(self, work: "Callable[[], StepOutput]") -> int:
        """Do the work as ``run`` does, and say before where the run is written.

        Call it once all options are checked.
        """
        self._check_inputs()
        self.announce()
        return self.run(work)

    @property
    def unfinished(self) -> Path:
        """The subfolder of the run folder with the state of an interrupted run."""
        return self.folder / self.resume_dir

    def repeat(self, record: "Record") -> int:
        """Show the stored record of a finished run, with the requirements decided anew; nothing is run.

        Returns:
            The exit code.

        Raises:
            SoundnessError: If the record contradicts itself.
        """
        assert self.out is not None
        note_folder(self.out)
        self.announce_requirements()
        judged = self.decide(record)
        _save(judged, self.out)
        about = f"finished before: nothing was run; quintain report {shlex.quote(str(self.out))}"
        return self._finish(judged, about)

    def decide(self, record: "Record") -> "Record":
        """Return a record with the decision on each requirement, and the verdict on the run."""
        from quintain.results.gate import judge

        judged = judge(self.requirements, record.claims, [record.result], undecided=self.undecided_rule)
        return replace(record, **judged._asdict())

    def _finish(self, record: "Record", about: str) -> int:
        """Show a finished record, raise its alarms, and return its exit code."""
        from quintain.evaluate.step import raise_if_unsound

        self._show(record, about)
        raise_if_unsound(record)
        return record.verdict.exit_code if record.verdict else ExitCode.OK

    def warn(self, lines: Iterable[str]) -> None:
        """Show warnings that are for the data's owner alone, on the screen and nowhere else."""
        for line in lines:
            self.console.print(
                f"warning, for the data's owner only: {line}", style="bold", markup=False, soft_wrap=True
            )

    def warn_of_undecided(self, verdict: RunVerdict) -> None:
        """Show a warning if something is undecided and the exit code is 0 all the same."""
        if verdict.is_warning:
            rule = "--undecided warn" if self.undecided else f"undecided = 'warn' in {self.project.path}"
            self.console.print(
                f"warning: {verdict.reason}; the exit code is 0 by {rule}",
                style="bold yellow",
                markup=False,
                soft_wrap=True,
            )

    def print_dim(self, text: str) -> None:
        """Show a line that is not a result."""
        self.console.print(text, style="dim", markup=False, soft_wrap=True)

    def print_device(self) -> None:
        """Say which accelerator computes; nothing where it is the CPU."""
        if self.torch_device.type != "cpu":
            self.print_dim(f"device: {self.device_name}")

    def save_partial(self, make: "Callable[[], StepOutput | None]") -> None:
        """Store and show the partial result of an interrupted run, if there is one."""
        found = make()
        if found is not None:
            verdict = RunVerdict("INTERRUPTED", ExitCode.INTERRUPTED, "the run was interrupted")
            record = replace(self._record(lambda: found), verdict=verdict)
            self._store(record)
            self._show(record, "partial")

    def raise_if_stopped(self, stop_reason: str) -> None:
        """Raise if a run of attacks stopped early.

        Raises:
            ExecutionError: With the reason, and how to resume.
        """
        if stop_reason:
            raise ExecutionError(
                f"{stop_reason}. What was found so far is in {self.folder}; once that is corrected, to "
                f"resume: {resume_command(self.out, self.folder)}"
            )

    def _kept_text(self, found: str) -> str:
        """Say what an interrupted run leaves behind.

        Args:
            found: What the interrupted loop keeps, in words; empty where it keeps nothing.
        """
        place = self.folder / self.resume_dir
        kept_names = place.is_dir() and {path.name for path in place.iterdir()} - {VERB_FILE}
        if not self.resume_dir or not kept_names:
            return "nothing is kept; run the command again"
        kept = f"{found} are kept" if found else "what was finished before is kept"
        return f"{kept} in {self.folder}; to resume: {resume_command(self.out, self.folder)}"

    def _record(self, work: "Callable[[], StepOutput]") -> "Record":
        from quintain.data.class_samples import missing_class_notes
        from quintain.evaluate.step import record_step

        record = record_step(
            work,
            command=command_line(),
            seed=self.seed,
            data=(self.examples.name, self._data_hash()),
            device=self.device_name,
        )
        missing = missing_class_notes(self.whole_split, self.sampled, by_number=self.keeps_data_secret)
        # Commands that keep their data secret attack the training examples on purpose: no note there.
        seen = (TRAIN_NOTE,) if self.split == "train" and not self.keeps_data_secret else ()
        return replace(record, notes=(*record.notes, *missing, *seen))

    def _data_hash(self) -> str:
        """The hash of the examples; a salted one where the record must not name the data."""
        if not self.keeps_data_secret:
            return self.examples.hash
        from quintain.evaluate.privacy_target import ProtectedRecords

        return ProtectedRecords.of_run(self.examples, self.unfinished).keyed_hash

    def _store(self, record: "Record") -> None:
        _save(record, self.folder)

    def _show(self, record: "Record", about: str) -> None:
        """Show a record, the requirements that it cannot decide, and where it is stored."""
        from quintain.cli.screen import show_record, show_weights

        show_record(self.console, record)
        for one in self.requirements:
            if one.text in record.not_checked:
                measured = [claim.bracket.quantity.metric for claim in record.claims]
                where = f" within {threat_type(one.threat)}" if one.metric in measured else ""
                self.print_dim(f"not checked, because this result has no {one.name}{where}: {one.text}")
        if record.verdict is not None:
            self.warn_of_undecided(record.verdict)
        folder = self.out or self.folder
        show_weights(self.console, record, folder)
        self.print_dim(f"{folder / RESULT_FILE}   ({about})")


def _save(record: "Record", folder: Path) -> None:
    from quintain.results.codec import save

    save(record, folder / RESULT_FILE)
