"""An experiment with canaries: their scores, whether each was included, and who flipped the coins."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import DataError
from quintain.leakage.audit.auditor import Auditor
from quintain.leakage.audit.canary_checks import check_canaries
from quintain.leakage.audit.result import EpsilonAudit
from quintain.leakage.audit.score_files import read_scores
from quintain.results.quantity import Quantity


@dataclass(frozen=True, slots=True, eq=False)
class Experiment:
    """What an audit of one training run rests on, in the order in which the canaries were made.

    Args:
        scores: One for each canary (m,); larger means more likely included.
        included: Whether each canary was included (m,) bool.
        coins: ``ours`` if the coins of inclusion were flipped here, one fair and independent one for each
            canary; ``assumed`` if somebody says so, which no array can prove.
        ids: Names of the canaries, in the same order; their numbers if not given.

    Raises:
        DataError: For what ``check_canaries`` refuses, or ids that are not one of a kind for each canary.
    """

    scores: NDArray[np.float64]
    included: NDArray[np.bool_]
    coins: Literal["ours", "assumed"]
    ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        scores, included = check_canaries(self.scores, self.included)
        ids = self.ids or tuple(map(str, range(len(scores))))
        if len(set(ids)) != len(scores):
            raise DataError(f"{len(set(ids))} different ids of {len(scores)} canaries; expected one for each")
        for name, value in (("scores", scores), ("included", included), ("ids", tuple(ids))):
            object.__setattr__(self, name, value)

    @classmethod
    def read(cls, path: str | Path) -> "Experiment":
        """Read the ``.npz`` file of a training that was done elsewhere, as ``read_scores`` does."""
        return cls(*read_scores(path), coins="assumed")

    def audit(
        self,
        auditor: Auditor,
        *,
        delta: float = 1e-5,
        confidence: float = 0.95,
        seed: int = 0,
        quantity: Quantity | None = None,
    ) -> EpsilonAudit:
        """Return an auditor's lower bound on epsilon."""
        return auditor(
            self.scores, self.included, delta=delta, confidence=confidence, seed=seed, quantity=quantity
        )

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What no check can see."""
        return () if self.coins == "ours" else ("inclusion coins fair and independent",)
