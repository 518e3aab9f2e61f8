"""What attacks on an update are called with.

What a malicious server does to get at a site through secure sums has no common call, since each starts at
another of the server's messages.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from quintain.core.progress import Progress


class ReconstructedExample(Protocol):
    """What an attack on an update returns."""

    @property
    def image(self) -> Tensor:
        """The example (C, H, W) or (F,)."""


class ReconstructionAttack(Protocol):
    """An attack that reconstructs the example behind an update."""

    def __call__(
        self,
        net: nn.Module,
        gradient: Tensor,
        shape: Sequence[int],
        *,
        steps: int,
        tv_weight: float,
        seed: int,
        progress: Progress,
    ) -> ReconstructedExample:
        """Return the example of a shape behind a flat gradient, as ``invert_gradient`` does.

        ``net`` is the user's own, whatever it returns: its logits are ``forward_logits(net, x)``. One that
        takes ``checkpoints`` too keeps its state on the way, so that a run that was killed goes on inside it.
        """
