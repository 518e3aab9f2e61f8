"""Projected gradient ascent (PGD) from random starts."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from quintain.attacks.ascent_loop import gradient_ascent
from quintain.attacks.base import Attack
from quintain.attacks.goal import LOSSES
from quintain.attacks.gradient.sparse_l1 import sparse_ascent_step
from quintain.attacks.search import Evaluation, Search
from quintain.attacks.step_sizes import ascent_step, check_steps, cosine_step_sizes
from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.threats.l1 import L1
from quintain.threats.l2 import L2
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import ProjectionCache

INITIAL_FRACTION = 0.2
"""Fraction of the coordinates that the first step in L1 moves."""

SPARSE_FRACTION = 0.5
"""Fraction of the steps in L1 that move some coordinates alone; the others follow the whole gradient."""


@dataclass(frozen=True, slots=True)
class PGD(Attack):
    r"""Projected gradient ascent on the margin, from a random point of the threat, with falling steps.

    .. math::
        z_{t+1} = \Pi_x\big(z_t + s_t\big), \quad
        s_t = \arg\max_{\|s\| \le \alpha_t} \langle s, \nabla_z m(f(z_t), y) \rangle

    with :math:`\Pi_x` the threat's projection, :math:`m` the loss and :math:`\alpha_t` falling from
    ``rel_step_size * eps`` to nearly 0. In L1 the steepest step would move a single coordinate. There the
    first step moves the fifth of the coordinates with the largest gradients, each next step fewer, and the
    second half of the steps goes along the gradient itself. ``APGD``, which starts in wider balls, is
    stronger in L1.

    Args:
        steps: Gradients per example and restart; an example stops at its first success.
        rel_step_size: Length of the first step, as a fraction of the threat's ``eps``.
        restarts: Number of random starts.
        loss: What is maximized: ``margin``, ``ce``, ``dlr`` or ``probability_margin``.

    Raises:
        SettingError: If a number is not positive, or there is no such loss.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Madry et al., 2018, arXiv:1706.06083.
    """

    name: ClassVar[str] = "pgd"
    strength: ClassVar[int] = 3
    summary: ClassVar[str] = "projected gradient ascent on the margin with falling steps and random starts"
    default_rank: ClassVar[int] = 3
    is_reference: ClassVar[bool] = True
    use_for: ClassVar[str] = "the plain baseline, and the one for parametric threats"
    cost: ClassVar[str] = "{steps} gradients, {restarts} times"
    supports: ClassVar[tuple[str, ...]] = (
        "linf",
        "l2",
        "l1",
        "mask",
        "patch",
        "light",
        "spatial",
        "color",
        "compose",
    )
    optimality_gap: ClassVar = {"l1": 0.03}
    test_settings: ClassVar = {"steps": 20}
    exemptions: ClassVar = {
        "better than random in spatial": (
            "few parameters and many local maxima: random points near all of them beat one ascent"
        ),
        "better than random in color": (
            "two parameters: random points come as near to the best corner of their square as an ascent"
        ),
    }

    steps: int = 40
    rel_step_size: float = 2.0
    restarts: int = 1
    loss: str = "margin"

    def __post_init__(self) -> None:
        check_steps(self.steps, self.rel_step_size)
        require_at_least(1, restarts=self.restarts)
        if self.loss not in LOSSES:
            raise SettingError(f"loss = {self.loss!r}; expected one of {', '.join(LOSSES)}")

    def run(self, search: Search) -> None:
        """Run gradient ascent from each random start."""
        threat, loss = search.threat, search.goal.loss(self.loss)
        # steps fall as a cosine; in L1 they are sparse at first, and move fewer and fewer coordinates
        step_sizes = cosine_step_sizes(threat.eps, self.steps, self.rel_step_size)
        counts = coordinates_per_step(self.steps, search.x[:1].numel()) if isinstance(threat, L1) else ()

        def init(clean: Tensor, rng: ExampleRNG, cache: ProjectionCache) -> tuple[Tensor]:
            return (threat.sample(clean, rng, cache),)

        def update(
            step: int, state: tuple[Tensor], out: Evaluation, clean: Tensor, cache: ProjectionCache
        ) -> tuple[Tensor]:
            if isinstance(threat, L1):
                return (
                    l1_ascent_step(
                        threat, step_sizes[step], counts[step], state[0], out.gradient, clean, cache
                    ),
                )
            return (ascent_step(threat, step_sizes[step], state[0], out.gradient, clean, cache),)

        # restarts attack only what is not broken yet, each from random numbers of its own
        for restart in range(self.restarts):
            gradient_ascent(
                search, rng=search.rng.fold_in(restart), init=init, update=update, steps=self.steps, loss=loss
            )


def coordinates_per_step(steps: int, coordinates: int) -> tuple[int, ...]:
    """Return how many coordinates each step of PGD in L1 moves; 0 stands for all of them.

    The number falls by equal factors from ``INITIAL_FRACTION`` of the coordinates to 1 over the first
    ``SPARSE_FRACTION`` of the steps, and is 0 after that.
    """
    sparse_steps = max(1, round(SPARSE_FRACTION * steps))
    first = max(1.0, INITIAL_FRACTION * coordinates)
    return tuple(
        round(first ** (1 - step / max(1, sparse_steps - 1))) if step < sparse_steps else 0
        for step in range(steps)
    )


def l1_ascent_step(
    threat: L1, step_size: float, count: int, z: Tensor, gradient: Tensor, x: Tensor, cache: ProjectionCache
) -> Tensor:
    """Make one projected step in L1 on the steepest coordinates, or along the gradient itself.

    Sparse steps find out which coordinates raise the loss most; dense steps, which end near the optimum of a
    linear model, how far to move each.

    Args:
        threat: The L1 ball, whose projection is on ball and box together.
        step_size: Length of the step: its L1 norm if sparse, its L2 norm if dense.
        count: Number of coordinates to move; 0 for a step along the gradient.
        z: Points (n, *S).
        gradient: Gradients of the loss there (n, *S).
        x: Clean inputs (n, *S).
        cache: The projection cache of ``x``.
    """
    if count:
        return sparse_ascent_step(threat, step_size, count, z, gradient, x, cache)
    return threat.project(z + L2(1.0).steepest_step(gradient.nan_to_num(0.0, 0.0, 0.0), step_size), x, cache)
