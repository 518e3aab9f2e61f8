"""What the two kinds of privacy attacks are called with: attacks on an update, and auditors of scores.

One that says what it is (``quintain.core.registry.declare``) is registered. ``reads`` says which of the two
it is: ``update`` or ``scores``; ``default_rank`` its place among those that are taken where none was named.
What a malicious server does to get at a site through secure sums reads a ``sum``; such attacks have no common
call, since each starts at another of the server's messages.
"""

from collections.abc import Sequence
from typing import Protocol

from numpy.typing import ArrayLike
from torch import Tensor, nn

from quintain.core.progress import Progress
from quintain.leakage.audit.one_run import OneRunAudit
from quintain.results.quantity import Quantity


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


class Auditor(Protocol):
    """An audit of private training, from the canaries' scores and whether each was included."""

    def __call__(
        self,
        scores: ArrayLike,
        included: ArrayLike,
        *,
        delta: float,
        confidence: float,
        seed: int,
        quantity: Quantity | None,
    ) -> OneRunAudit:
        """Return a lower bound on epsilon that holds with the confidence; see ``audit_one_run``."""
