"""Exhaustive search over a grid of rotations, shifts and magnifications."""

from dataclasses import dataclass
from itertools import product
from typing import ClassVar

from torch import Tensor

from quintain.attacks.base import Attack
from quintain.attacks.search import Search
from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.models.protocol import Access
from quintain.threats.spatial import Motion, Spatial
from quintain.threats.threat import Threat


@dataclass(frozen=True, slots=True)
class SpatialSearch(Attack):
    r"""Query every point of a grid of rotations, shifts and magnifications.

    The result on the grid is exact, and the attack is stronger than those by gradients.

    .. math:: \max_{(\varphi, t, s) \in \Phi \times T^2 \times S} m\big(f(x_{\varphi, t, s}), y\big)

    The smallest motions are queried first, so that a success is the smallest of the grid. Motions that the
    threat does not allow are left out; a flow stays 0.

    Args:
        shifts: Number of shifts along each axis, between both ends of what the threat allows.
        angles: Number of rotations, likewise.
        sizes: Number of magnifications, likewise.

    Raises:
        SettingError: If a number is no whole number of at least 2.

    Guarantee:
        What it calls broken is inside the threat and was misclassified twice; what it does not break is
        classified correctly at every point of the grid, and may be breakable between them.

    Source: Engstrom et al., 2019, arXiv:1712.02779.
    """

    name: ClassVar[str] = "spatial-search"
    summary: ClassVar[str] = "every turn and shift of a grid: exact on the grid, and stronger than a gradient"
    use_for: ClassVar[str] = "turns and shifts: every point of a grid"
    cost: ClassVar[str] = "{angles} x {shifts} twice x {sizes}, of what is allowed"
    access: ClassVar[Access] = "scores"
    min_queries: ClassVar[int] = 775
    ends_exhausted: ClassVar[bool] = True
    supports: ClassVar[tuple[str, ...]] = ("spatial",)
    test_settings: ClassVar = {"shifts": 3, "angles": 7}

    shifts: int = 5
    angles: int = 31
    sizes: int = 3

    def __post_init__(self) -> None:
        require_at_least(2, shifts=self.shifts, angles=self.angles, sizes=self.sizes)

    def check_supported(
        self, threat: Threat, targets: Tensor | None = None, max_queries: int | None = None
    ) -> None:
        """Raise if the threat is not supported, or allows a flow alone."""
        Attack.check_supported(self, threat, targets, max_queries)
        if isinstance(threat, Spatial) and not (threat.rotate or threat.shift or threat.scale):
            raise SettingError(
                f"{self.name} turns, shifts and magnifies, and {threat.spec} allows none of it; take pgd or "
                "random-search"
            )

    def run(self, search: Search) -> None:
        """Query one motion of the grid after the other."""
        threat = search.threat
        assert isinstance(threat, Spatial)
        for motion in self.grid(threat, search.x):
            rows = search.active_rows
            if not len(rows):
                return
            rotate, down, right, scale = motion.expand(len(rows), 4).unbind(1)
            flow = search.x.new_zeros(len(rows), 2, *search.x.shape[2:]) if threat.flow else None
            search.query(threat.pack(Motion(rotate, down, right, scale, flow)), rows)

    def grid(self, threat: Spatial, like: Tensor) -> Tensor:
        """Return the fractions (n, 4) of rotation, shift down and right, and scale to query, smallest first.

        The clean image (no motion) is not among them: it has been queried already.
        """

        def line(amount: float, count: int) -> tuple[float, ...]:
            return tuple(2 * index / (count - 1) - 1 for index in range(count)) if amount else (0.0,)

        shifts = line(threat.shift, self.shifts)
        points = product(line(threat.rotate, self.angles), shifts, shifts, line(threat.scale, self.sizes))
        ordered = sorted((point for point in points if any(point)), key=lambda point: max(map(abs, point)))
        return like.new_tensor(ordered)
