"""The fast gradient method: one step to where a linear model would be worst."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from quintain.attacks.ascent_loop import gradient_ascent
from quintain.attacks.base import Attack
from quintain.attacks.gradient.iterative_fgsm import MomentumState, zero_velocity_init
from quintain.attacks.search import Evaluation, Search
from quintain.threats.l2 import L2
from quintain.threats.threat import ProjectionCache

FAR = 1e4
"""How far along the gradient the point lies that is projected, in units of ``eps``."""


@dataclass(frozen=True, slots=True)
class FGM(Attack):
    r"""One step to where the linearized cross-entropy is largest in ball and box together.

    .. math:: z = \arg\max_{z \in ball(x)} \langle z, \nabla_x \ell(f(x), y) \rangle
        = \lim_{t \to \infty} \Pi_x\big(x + t\, \nabla_x \ell\big)

    Where the data box does not cut the ball, this is the published step: along the gradient in L2, on the
    steepest coordinate in L1. Where it does, the part of the step that the box cuts off is spent on the other
    coordinates. In Linf it would be ``FGSM``.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Goodfellow et al., 2015, arXiv:1412.6572; Miyato et al., 2017, arXiv:1605.07725.
    """

    name: ClassVar[str] = "fgm"
    summary: ClassVar[str] = "one gradient step in L2 or L1: fast and weak, a smoke test"
    use_for: ClassVar[str] = "a smoke test in L2 and L1"
    cost: ClassVar[str] = "one gradient"
    supports: ClassVar[tuple[str, ...]] = ("l2", "l1")

    def run(self, search: Search) -> None:
        """Take the step; nothing is random."""
        threat = search.threat

        def update(
            step: int,  # noqa: ARG001
            state: MomentumState,  # noqa: ARG001
            out: Evaluation,
            clean: Tensor,
            cache: ProjectionCache,
        ) -> MomentumState:
            # Projecting a point far along the gradient (1e4 eps) gives the maximizer of <z, g> in ball and
            # box, up to rounding.
            gradient = out.gradient.nan_to_num(0.0, 0.0, 0.0)
            return MomentumState(
                threat.project(clean + L2(1.0).steepest_step(gradient, FAR * threat.eps), clean, cache),
                gradient,
            )

        gradient_ascent(
            search,
            rng=search.rng,
            init=zero_velocity_init(threat),
            update=update,
            steps=1,
            loss=search.goal.log_odds,
        )
