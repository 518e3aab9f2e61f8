"""The ``quintain`` command: verbs by name, errors by exit code."""

import functools
import os
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer

from quintain.cli import verbs
from quintain.cli.verbs.verb import Verb
from quintain.core.errors import ExitCode, QuintainError, SettingError
from quintain.version import __version__

app = typer.Typer(
    name="quintain",
    help="Attack a model, harden it, certify it, train it privately, audit what leaks: every claim held from both sides.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _guarded(verb: Verb) -> Callable[..., None]:
    """A verb whose errors are messages and exit codes, never tracebacks."""

    @functools.wraps(verb.run)
    def run(*args: Any, **words: Any) -> None:
        def work() -> int:
            _check_alone(verb)
            return verb.run(*args, **words)

        raise typer.Exit(_attempt(work, verb.interrupted))

    return run


def _check_alone(verb: Verb) -> None:
    """Raise where several processes would each do the whole of a verb, into one folder.

    Raises:
        SettingError: If ``torchrun`` started more than one for a verb that cannot share its work.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if size not in ("", "0", "1") and not verb.together:
        raise SettingError(
            f"got WORLD_SIZE = {size} (torchrun): quintain {verb.name} runs in one process, and each would do all of it; expected it "
            "without torchrun, or for private training a script of your own with dp.DifferentiallyPrivateDistributedDataParallel"
        )


def _attempt(work: Callable[[], int], interrupted: str) -> int:
    try:
        return int(work())
    except QuintainError as error:
        return _failed(type(error).__name__, str(error), error.exit_code)
    except KeyboardInterrupt:
        return _failed("interrupted", interrupted, ExitCode.INTERRUPTED)
    except MemoryError:
        return _failed("out of memory", "give fewer examples with --limit", ExitCode.EXECUTION)
    except OSError as error:
        return _failed("the system refused", f"{error.filename or ''} {error.strerror or error}".strip(), ExitCode.EXECUTION)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {error} ({where.filename}, line {where.lineno}); 'quintain check' looks at model and data"
        return _failed("not foreseen", f"{text}. If they are in order, please report this message and the command", ExitCode.EXECUTION)


def _failed(kind: str, message: str, code: ExitCode) -> ExitCode:
    """Tell what went wrong; of several processes that share a run (``torchrun``) the first one does."""
    if os.environ.get("RANK", "0") != "0":
        return code
    from rich.console import Console
    from rich.markup import escape

    Console(stderr=True, soft_wrap=True, highlight=False, emoji=False).print(f"[bold red]{escape(kind)}:[/] {escape(message)}")
    return code


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")] = False,
) -> None:
    pass


for one in verbs.ALL:
    app.command(one.name, help=one.help, epilog=one.examples)(_guarded(one))


def run() -> None:
    """The entry point of the ``quintain`` command."""
    sys.exit(_attempt(lambda: app(prog_name="quintain"), "nothing was begun"))
