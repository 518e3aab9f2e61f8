"""Nesterov's momentum: the gradient is taken where the momentum leads."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from quintain.attacks.ascent_loop import gradient_ascent
from quintain.attacks.base import Attack
from quintain.attacks.gradient.iterative_fgsm import check_iterative_fgsm, update_velocity
from quintain.attacks.search import Evaluation, Search
from quintain.attacks.step_sizes import ascent_step
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import ProjectionCache


class NesterovState(NamedTuple):
    """Points ``z`` where gradients are taken, the walk's ``point``, and its direction (n, *S)."""

    z: Tensor
    point: Tensor
    velocity: Tensor


@dataclass(frozen=True, slots=True)
class NIFGSM(Attack):
    r"""``MIFGSM`` whose gradients are those at the point that the momentum alone would lead to.

    .. math::
        g_t = \nabla \ell\big(f(\Pi_x(z_t + \alpha \mu v_t)), y\big), \quad
        v_{t+1} = \mu v_t + \frac{g_t}{mean|g_t|}, \quad
        z_{t+1} = \Pi_x\big(z_t + \alpha\, sign\, v_{t+1}\big)

    As in the authors' code, a gradient is divided by the mean of its coordinates' sizes, so that looking
    ahead is a step of about :math:`\alpha` and not one that shrinks with the number of pixels. Every point
    that is queried is allowed, and is judged.

    Args:
        steps: Gradients per example; an example stops at its first success.
        rel_step_size: Length of a step, as a fraction of ``eps``.
        decay: :math:`\mu`: the fraction of the direction so far that is kept.

    Raises:
        SettingError: If a setting is out of range.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Lin et al., 2020, arXiv:1908.06281.
    """

    name: ClassVar[str] = "ni-fgsm"
    summary: ClassVar[str] = "momentum that looks where it leads before it asks"
    use_for: ClassVar[str] = "momentum that looks ahead"
    cost: ClassVar[str] = "{steps} gradients"
    supports: ClassVar[tuple[str, ...]] = ("linf", "mask")

    steps: int = 10
    rel_step_size: float = 0.1
    decay: float = 1.0

    def __post_init__(self) -> None:
        check_iterative_fgsm(self.steps, self.rel_step_size, self.decay)

    def run(self, search: Search) -> None:
        """Run the steps; the last query is at the last iterate itself."""
        threat, step_size = search.threat, self.rel_step_size * search.threat.eps

        def init(clean: Tensor, rng: ExampleRNG, cache: ProjectionCache) -> NesterovState:  # noqa: ARG001
            return NesterovState(clean, clean, torch.zeros_like(clean))

        def update(
            step: int, state: NesterovState, out: Evaluation, clean: Tensor, cache: ProjectionCache
        ) -> NesterovState:
            # move along the velocity, then look ahead by alpha mu v; the last query is at the iterate itself
            velocity = update_velocity(state.velocity, out.gradient, self.decay)
            point = ascent_step(threat, step_size, state.point, velocity, clean, cache)
            look_ahead = (
                point
                if step == self.steps - 1
                else threat.project(point + step_size * self.decay * velocity, clean, cache)
            )
            return NesterovState(look_ahead, point, velocity)

        gradient_ascent(
            search, rng=search.rng, init=init, update=update, steps=self.steps, loss=search.goal.log_odds
        )
