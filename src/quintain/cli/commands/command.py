"""A command of the command line."""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Args:
        name: As typed.
        run: Does it, and gives the exit code; its annotations are the options.
        help: What it does.
        examples: Two examples of its use.
        shares_work: Whether several processes may share one run, as ``torchrun`` starts them.
    """

    name: str
    run: Callable[..., int]
    help: str
    examples: tuple[str, str]
    shares_work: bool = False

    @property
    def concerns_a_run(self) -> bool:
        """Whether it makes a run folder or reads one, so that it takes the options for CI systems' files."""
        return bool({"out", "folder"} & set(signature(self.run).parameters))

    @property
    def epilog(self) -> str:
        """The examples as the end of ``--help``."""
        return "[bold]Examples[/]\n\n" + "\n\n".join(
            f"  quintain {self.name} {line}".rstrip() for line in self.examples
        )
