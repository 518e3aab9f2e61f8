"""The minimum-margin attack: short gradient ascents towards the nearest target classes."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from quintain.attacks.ascent_loop import gradient_ascent
from quintain.attacks.base import Attack
from quintain.attacks.gradient.apgd import losses_by_target_class
from quintain.attacks.search import Evaluation, Search
from quintain.attacks.step_sizes import ascent_step, check_steps, cosine_step_sizes
from quintain.core.limits import require_at_least
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import ProjectionCache

REL_STEP_SIZE = 2.0
"""Length of the first step in units of ``eps``."""


@dataclass(frozen=True, slots=True)
class MinimumMargin(Attack):
    r"""A short projected gradient ascent towards each of the nearest target classes.

    The loss is the lead of the target class over the true one, divided by a spread of the logits:

    .. math::
        \ell_t = \frac{z_t - z_y}{z_{\pi_1} - (z_{\pi_3} + z_{\pi_4}) / 2}, \quad
        t \text{ among the largest wrong logits at } x

    with z the logits and :math:`z_{\pi_1} \ge z_{\pi_2} \ge \dots` (``losses.dlr`` says what it is with fewer
    than four classes).

    Only few classes ever become the prediction of an example, so the nearest three find almost as much as all
    would.

    Args:
        steps: Gradients per example and target class; an example stops at its first success.
        target_classes: Number of target classes; of K classes at most K - 1 are used.

    Raises:
        SettingError: If a setting is not positive.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Gao et al., 2022, arXiv:2206.07314.
    """

    name: ClassVar[str] = "mm"
    summary: ClassVar[str] = "a short ascent towards each of the nearest target classes"
    use_for: ClassVar[str] = "a cheap look at the nearest classes"
    cost: ClassVar[str] = "{steps} gradients for each of {target_classes} target classes"

    steps: int = 20
    target_classes: int = 3

    def __post_init__(self) -> None:
        check_steps(self.steps, REL_STEP_SIZE)
        require_at_least(1, target_classes=self.target_classes)

    def run(self, search: Search) -> None:
        """Run one gradient ascent towards each target class, from a random start."""
        threat = search.threat
        step_sizes = cosine_step_sizes(threat.eps, self.steps, REL_STEP_SIZE)

        def init(clean: Tensor, rng: ExampleRNG, cache: ProjectionCache) -> tuple[Tensor]:
            return (threat.sample(clean, rng, cache),)

        def update(
            step: int, state: tuple[Tensor], out: Evaluation, clean: Tensor, cache: ProjectionCache
        ) -> tuple[Tensor]:
            return (ascent_step(threat, step_sizes[step], state[0], out.gradient, clean, cache),)

        for index, loss in losses_by_target_class(search, "dlr", self.target_classes):
            gradient_ascent(
                search, rng=search.rng.fold_in(index), init=init, update=update, steps=self.steps, loss=loss
            )
