"""A command of the command line."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall

CALL = "call"
"""Name of the parameter that gets the call of the command."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Args:
        name: As typed.
        run: Does it, and gives the exit code. Its parameters are the command's own options; one named
            ``call`` gets the call, with what the shared options said.
        help: What it does.
        examples: Two examples of its use.
        before, after: The shared options that ``--help`` shows before and after its own.
        shares_work: Whether several processes may share one run, as ``torchrun`` starts them.
    """

    name: str
    run: Callable[..., int]
    help: str
    examples: tuple[str, str]
    before: tuple[Parameter, ...] = ()
    after: tuple[Parameter, ...] = ()
    shares_work: bool = False

    @property
    def options(self) -> tuple[Parameter, ...]:
        """All its options, in the order of ``--help``."""
        own = (one.replace(kind=Parameter.KEYWORD_ONLY) for one in self._parameters if one.name != CALL)
        return (*self.before, *own, *self.after)

    def __call__(self, call: "VerbCall", given: Mapping[str, object]) -> int:
        """Do it, and return the exit code.

        Args:
            call: The call of the command.
            given: What all its options said, by name.
        """
        known = {**given, CALL: call}
        return self.run(**{one.name: known[one.name] for one in self._parameters})

    @property
    def _parameters(self) -> tuple[Parameter, ...]:
        return tuple(signature(self.run).parameters.values())

    @property
    def concerns_a_run(self) -> bool:
        """Whether it makes a run folder or reads some, so that it takes the options for CI systems' files."""
        return bool({"out", "folder", "after"} & {one.name for one in self.options})

    @property
    def epilog(self) -> str:
        """The examples as the end of ``--help``."""
        return "[bold]Examples[/]\n\n" + "\n\n".join(
            f"  quintain {self.name} {line}".rstrip() for line in self.examples
        )
