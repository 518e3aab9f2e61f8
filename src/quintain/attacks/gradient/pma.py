"""The probability margin attack."""

from dataclasses import dataclass
from typing import ClassVar

from quintain.attacks.base import Attack
from quintain.attacks.gradient.apgd import APGD
from quintain.attacks.search import Search


@dataclass(frozen=True, slots=True)
class PMA(Attack):
    r"""APGD on the margin of probabilities.

    .. math:: \ell = \max_{j \ne y} p_j - p_y

    The loss is taken as :math:`\log(1 + \ell)`, which orders points in the same way and has gradients of the
    same direction. The difference itself rounds to -1, with a gradient of 0, where the true class is nearly
    certain.

    Args:
        steps: Gradients per example and restart; an example stops at its first success.
        restarts: How many random points to start from.

    Raises:
        SettingError: If a setting is not positive.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Xie et al., 2024, arXiv:2411.15210.
    """

    name: ClassVar[str] = "pma"
    summary: ClassVar[str] = "APGD on the margin of probabilities"
    use_for: ClassVar[str] = "another loss where the margin is uneven"
    cost: ClassVar[str] = "{steps} gradients, {restarts} times"
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    optimality_gap: ClassVar = {"l1": 0.03}
    test_settings: ClassVar = {"steps": 15}

    steps: int = 100
    restarts: int = 1

    def __post_init__(self) -> None:
        self._apgd()

    def run(self, search: Search) -> None:
        """Run from each start."""
        self._apgd().run(search)

    def _apgd(self) -> APGD:
        return APGD(self.steps, self.restarts, "probability_margin")
