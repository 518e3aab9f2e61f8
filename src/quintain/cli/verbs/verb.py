"""What a verb is made of."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verb:
    """One word of the command line.

    Args:
        name: As typed.
        run: Does it, and gives the exit code; its annotations are the options.
        help: What it does.
        shown: Two examples of its use.
        interrupted: What to know and do after Ctrl-C.
        together: Whether several processes may share one run, as ``torchrun`` starts them.
    """

    name: str
    run: Callable[..., int]
    help: str
    shown: tuple[str, str]
    interrupted: str = "no result was stored; run the command again"
    together: bool = False

    @property
    def examples(self) -> str:
        """The examples as the end of ``--help``."""
        return "[bold]Examples[/]\n\n" + "\n\n".join(f"  quintain {self.name} {line}".rstrip() for line in self.shown)
