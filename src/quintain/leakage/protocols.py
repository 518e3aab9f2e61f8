"""The call that attacks on an update share.

Attacks by which a malicious server gets at one site's update through secure sums have no common call: each of
them manipulates another message of the server.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from quintain.core.progress import Progress


class ReconstructedExample(Protocol):
    """The result of an attack on an update."""

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

        ``net`` is the user's own and may return more than logits, which are ``forward_logits(net, x)``. An
        attack that also takes ``checkpoints`` saves its state on the way, so that a run that was killed
        resumes inside the attack.
        """
