"""What an audit is called with, and what it says of itself."""

from typing import Protocol

from numpy.typing import ArrayLike

from quintain.leakage.audit.result import EpsilonAudit
from quintain.results.quantity import Quantity


class Auditor(Protocol):
    """An audit of private training: a lower bound on epsilon from scores and from what each was included in.

    One that says what it is (``quintain.core.registry.declare``, with ``kind="audit"``) is registered. Its
    facts:

    - ``scores_of``: ``canaries`` of one run, each included by its own fair coin, or ``runs`` with one canary
      each, which are independent;
    - ``rests_on_assumption``: whether the bound needs more than that. Such a bound is no side of a bracket;
    - ``needs``: ``profiles``, if it tests curves that are given to it (``profiles=``), and speaks of the
      claim only with those of the claim;
    - ``default_rank``: its place among those that are taken where none was named.
    """

    def __call__(
        self,
        scores: ArrayLike,
        included: ArrayLike,
        *,
        delta: float,
        confidence: float,
        seed: int,
        quantity: Quantity | None,
    ) -> EpsilonAudit:
        """Return a lower bound on epsilon that holds with the confidence; see ``audit_one_run``."""
