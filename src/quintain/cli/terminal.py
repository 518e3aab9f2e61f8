"""Where results are shown."""

import os
import sys

from rich.console import Console


class Terminal(Console):
    """Standard output; a reader that leaves early (``| head``) ends the showing, not the work, and changes no exit code.

    Nothing is taken for an emoji: ``mask:eyeglasses:0.5`` is a threat.
    """

    def __init__(self) -> None:
        super().__init__(highlight=False, emoji=False)

    def on_broken_pipe(self) -> None:
        """Send the rest nowhere."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
