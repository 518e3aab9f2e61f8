"""The ``quintain`` command line: commands by name, errors as messages and exit codes."""

import inspect
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from quintain.cli.ci_files import OPTIONS, note_reason, take_options, write_refused
from quintain.cli.commands import COMMANDS
from quintain.cli.commands.command import Command
from quintain.cli.output_files import close_standard_output, exit_when_pipe_closes, print_to_standard_error
from quintain.cli.run_settings import remember_command
from quintain.core.errors import ExitCode, QuintainError, SettingError, SoundnessError
from quintain.core.processes import is_first_process, world_size
from quintain.core.user_code import failure_text
from quintain.version import __version__


class _Help(TyperCommand):
    """A command whose help may be read by ``head``."""

    def format_help(self, *given: Any, **named: Any) -> None:
        exit_when_pipe_closes()
        super().format_help(*given, **named)


class _Commands(TyperGroup):
    """The commands, whose help may be read by ``head``."""

    def format_help(self, *given: Any, **named: Any) -> None:
        exit_when_pipe_closes()
        super().format_help(*given, **named)


app = typer.Typer(
    name="quintain",
    cls=_Commands,
    help="Attack, harden and certify a model, train it privately, audit what leaks: "
    "every result has a lower and an upper bound.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_BEGUN = ContextVar("begun", default=False)
"""Whether a command line was read, so that its command has begun; typer itself refuses others."""

_NAMES_OF_RUNS = {one.name for one in COMMANDS if one.concerns_a_run}

OUT_OF_MEMORY = (
    "Less is needed with a smaller --batch-size where the command has one, fewer examples (--limit) or a "
    "smaller model; --device cpu uses the computer's memory in place of the accelerator's"
)
"""What lowers the memory that a command needs, where its batches could not be halved."""


def _with_messages(command: Command) -> Callable[..., None]:
    """Return a command whose errors are messages and exit codes, never tracebacks."""

    def run(**words: Any) -> None:
        _BEGUN.set(True)
        with take_options(command.name, words) as files:

            def work() -> int:
                _refuse_torchrun(command)
                files.prepare()
                from quintain.cli.call import VerbCall
                from quintain.cli.repeat import repeat_finished

                call = VerbCall.of(command.name, words)
                with remember_command(command.name, words):
                    repeated = repeat_finished(call)
                    return command(call, words) if repeated is None else repeated

            takes_standard_output = files.takes_standard_output
            with print_to_standard_error(takes_standard_output):
                code = _attempt(work)
            with _unstoppable():
                code = _attempt(lambda: files.write(code))
            if takes_standard_output:
                close_standard_output()
            raise typer.Exit(code)

    options = (*command.options, *(OPTIONS if command.concerns_a_run else ()))
    run.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    return run


@contextmanager
def _unstoppable() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM in here: a second one must not keep a command from ending in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.signal(one, signal.SIG_IGN) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _refuse_torchrun(command: Command) -> None:
    """Raise where several processes would each do all the work of a command, into one folder.

    Raises:
        SettingError: If ``torchrun`` started more than one for a command that cannot share its work.
    """
    size = world_size()
    if size > 1 and not command.shares_work:
        raise SettingError(
            f"got WORLD_SIZE = {size} (torchrun): quintain {command.name} runs in one process, and each "
            "would do all of it; expected it without torchrun, or for private training a script of your own "
            "with dp.DifferentiallyPrivateDistributedDataParallel"
        )


def _attempt(work: Callable[[], int]) -> int:
    """Do the work and return its exit code: whatever it raises is a message and a code of ours.

    That goes for ``SystemExit`` too, which is none of ours here: code of the user called ``sys.exit()``.
    """
    try:
        return int(work())
    except SoundnessError as error:
        return _print_failure("SOUNDNESS ALARM", str(error), error.exit_code)
    except QuintainError as error:
        return _print_failure("error", str(error), error.exit_code)
    except KeyboardInterrupt as error:
        return _print_failure("interrupted", str(error) or "nothing was started", ExitCode.INTERRUPTED)
    except MemoryError:
        return _print_failure("out of memory", OUT_OF_MEMORY, ExitCode.EXECUTION)
    except OSError as error:
        return _print_failure(
            "system error", f"{error.filename or ''} {error.strerror or error}".strip(), ExitCode.EXECUTION
        )
    except Exception as error:
        if _is_out_of_memory(error):
            said = next(iter(str(error).splitlines()), type(error).__name__)
            return _print_failure("out of memory", f"{said} {OUT_OF_MEMORY}", ExitCode.EXECUTION)
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = (
            f"{type(error).__name__}: {error} ({where.filename}, line {where.lineno}); 'quintain check' "
            "looks at model and data"
        )
        return _print_failure(
            "internal error",
            f"{text}. If they are in order, please report this message and the command",
            ExitCode.EXECUTION,
        )
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return _print_failure(
            "error",
            f"{failure_text(error)} in {where.filename}, line {where.lineno}: code that the run calls may "
            "not end it; take that out of the model or what it imports",
            ExitCode.EXECUTION,
        )


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out; PyTorch, which would say so, is not imported for it."""
    if "torch" not in sys.modules:
        return False
    from quintain.models.memory import is_out_of_memory

    return is_out_of_memory(error)


def _print_failure(kind: str, message: str, code: ExitCode) -> ExitCode:
    """Print what went wrong; of several processes that share a run (``torchrun``) the first one does."""
    note_reason(message)
    if not is_first_process():
        return code
    from rich.markup import escape

    from quintain.cli.console import error_console
    from quintain.report.ci.plain_text import plain_text

    # a message of others' making may have codes that color or clear a terminal
    error_console().print(f"[bold red]{escape(kind)}:[/] {escape(plain_text(message))}")
    return code


def _version(requested: bool) -> None:
    if requested:
        exit_when_pipe_closes()
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


for one in COMMANDS:
    app.command(one.name, cls=_Help, help=one.help, epilog=one.epilog)(_with_messages(one))


def run() -> None:
    """The entry point of the ``quintain`` command; SIGTERM is treated as Ctrl-C is."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if os.environ.get("NO_COLOR"):
        from typer import rich_utils

        rich_utils.COLOR_SYSTEM = None  # of help and usage errors
    code = _attempt(_exit_code_of_app)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the code stands
    sys.exit(code)


def _exit_code_of_app() -> int:
    """Run the command line, which typer ends by ``SystemExit``, and return its exit code."""
    try:
        app(prog_name="quintain")
    except SystemExit as end:
        code = int(end.code or 0)
        verb, *words = sys.argv[1:] or [""]
        if code == ExitCode.USAGE and not _BEGUN.get() and verb in _NAMES_OF_RUNS:
            write_refused(verb, words)
        return code
    return ExitCode.OK
