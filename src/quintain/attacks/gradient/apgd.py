"""Auto-PGD (APGD): projected gradient ascent that adapts its step size for each example."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from quintain.attacks.ascent_loop import gradient_ascent
from quintain.attacks.base import Attack
from quintain.attacks.goal import Loss
from quintain.attacks.gradient._apgd_l1 import apgd_l1
from quintain.attacks.gradient.apgd_step_size import (
    StepSizeState,
    checkpoints,
    initial_step_size_state,
    update_step_size,
)
from quintain.attacks.patience import can_still_succeed, check_patience
from quintain.attacks.search import Evaluation, Search
from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.core.threat_specs import threat_name
from quintain.threats.broadcast import expand_rows, where_rows
from quintain.threats.parametric import ParametricThreat
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import ProjectionCache, Threat

MOMENTUM = 0.25
"""Weight of the momentum term."""

INITIAL_STEP = 2.0
"""Size of the first steps as a fraction of ``eps``."""


class APGDState(NamedTuple):
    """The state of APGD for n examples: points (n, *S), then the fields (n,) of ``StepSizeState``.

    Args:
        z: The points to evaluate next.
        previous_point: The points before those, for the momentum term.
        best_point: The point with the largest loss so far.
        best_gradient: The gradient there.
    """

    z: Tensor
    previous_point: Tensor
    best_point: Tensor
    best_gradient: Tensor
    step_size: Tensor
    last_loss: Tensor
    increases: Tensor
    best_loss: Tensor
    checkpoint_best_loss: Tensor
    was_halved: Tensor
    initial_loss: Tensor


@dataclass(frozen=True, slots=True)
class APGD(Attack):
    r"""Projected gradient ascent with momentum, whose steps are halved where they no longer help.

    .. math:: u = \Pi_x\big(z_k + \alpha s(\nabla \ell(z_k))\big), \quad
        z_{k+1} = \Pi_x\big(z_k + 0.75 (u - z_k) + 0.25 (z_k - z_{k-1})\big)

    from a random point on the surface of the threat, with :math:`s` its steepest step and :math:`\alpha = 2
    \varepsilon` at first. The distance between checkpoints shrinks. At each of them, the step size is halved
    for every example whose loss increased too seldom, or whose best loss did not increase; it goes on from
    its best point, with the gradient there and without momentum. In L1 the update is another one,
    ``apgd_l1``.

    With ``target_classes = n`` it runs once for each of the n wrong classes with the largest clean logits, on
    the targeted loss of that class (APGD-T). Any misclassification counts as success, not only that class. If
    the call gives ``targets=``, it runs once, towards those.

    Args:
        steps: Gradients per example, restart and target class; an example stops at its first success.
        restarts: Random starts for each target class.
        loss: ``ce``, ``margin``, ``dlr`` or ``probability_margin``; with target classes ``margin`` or
            ``dlr``.
        target_classes: Number of target classes, at most K - 1; 0 for the untargeted loss.
        patience: At each checkpoint an example is dropped if its loss would stay below 0 though it improved
            ``patience`` times as fast as on average so far. The default, inf, drops none, as published; 1
            saves more than half of the gradients and hardly ever costs a success. In L1 none is dropped.

    Raises:
        SettingError: If a setting is out of range.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Croce and Hein, 2020, arXiv:2003.01690.
    """

    name: ClassVar[str] = "apgd"
    strength: ClassVar[int] = 4
    summary: ClassVar[str] = (
        "projected gradient ascent with adaptive step sizes, on one loss or towards target classes"
    )
    default_rank: ClassVar[int] = 2
    use_for: ClassVar[str] = "one gradient ascent without tuning: its step sizes adapt"
    cost: ClassVar[str] = "{steps} gradients, {restarts} times, for each of {target_classes} target classes"
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    optimality_gap: ClassVar = {"l1": 0.03}
    test_settings: ClassVar = {"steps": 15}

    steps: int = 100
    restarts: int = 1
    loss: str = "ce"
    target_classes: int = 0
    patience: float = math.inf

    def __post_init__(self) -> None:
        require_at_least(1, steps=self.steps, restarts=self.restarts)
        require_at_least(0, target_classes=self.target_classes)
        check_patience(self.patience)
        if self.target_classes and self.loss not in ("margin", "dlr"):
            raise SettingError(
                f"loss = {self.loss!r} with target_classes = {self.target_classes}; expected margin or dlr, "
                "which are defined between two classes"
            )

    @property
    def label(self) -> str:
        """The name with the loss, such as ``apgd-ce``, or ``apgd-t`` with target classes."""
        return f"{self.name}-t" if self.target_classes else f"{self.name}-{self.loss}"

    def run(self, search: Search) -> None:
        """Run gradient ascent from each random start, towards each target class."""
        checkpoint_windows = checkpoints(self.steps)

        def init(clean: Tensor, rng: ExampleRNG, cache: ProjectionCache) -> APGDState:
            z = random_start_on_surface(search.threat, clean, rng, cache)
            return APGDState(
                z, z, z, torch.zeros_like(z), *initial_step_size_state(len(z), clean, INITIAL_STEP)
            )

        def update(
            step: int, state: APGDState, out: Evaluation, clean: Tensor, cache: ProjectionCache
        ) -> APGDState:
            best_point, best_gradient = update_best(state, out)
            window = checkpoint_windows.get(step)
            # the fields after the first four are those of StepSizeState
            step_state, halve = update_step_size(StepSizeState(*state[4:]), out.loss_values, step, window)
            z, previous_point, gradient = state.z, state.previous_point, out.gradient
            # Checkpoint: where the step was halved, restart from the best point with its gradient;
            # previous_point is set to the same point, so that the momentum term is 0.
            if halve is not None:
                z = where_rows(halve, best_point, z)
                previous_point = where_rows(halve, best_point, previous_point)
                gradient = where_rows(halve, best_gradient, gradient)
            next_z = per_example_step(search.threat, z, gradient, step_state.step_size, clean, cache)
            # z_{k+1} = P(z_k + 0.75 (u - z_k) + 0.25 (z_k - z_{k-1})); the first step is u, without momentum
            if step:
                next_z = search.threat.project(
                    z + (1 - MOMENTUM) * (next_z - z) + MOMENTUM * (z - previous_point), clean, cache
                )
            return APGDState(next_z, z, best_point, best_gradient, *step_state)

        def keep(step: int, state: APGDState) -> Tensor | None:
            return (
                can_still_succeed(state.best_loss, state.initial_loss, step, self.steps, self.patience)
                if step in checkpoint_windows
                else None
            )

        for restart in range(self.restarts):
            for index, loss in losses_by_target_class(search, self.loss, self.target_classes):
                if threat_name(search.threat.spec) == "l1":
                    apgd_l1(search, search.rng.fold_in(restart, index), self.steps, loss)
                else:
                    gradient_ascent(
                        search,
                        rng=search.rng.fold_in(restart, index),
                        init=init,
                        update=update,
                        steps=self.steps,
                        loss=loss,
                        keep=keep,
                    )


def losses_by_target_class(search: Search, loss: str, target_classes: int) -> Iterator[tuple[int, Loss]]:
    """Yield (index, loss) of each run: the untargeted loss, or that of one target class after the other.

    Args:
        search: Gives the wrong classes with the largest clean logits, per example.
        loss: Name of the loss.
        target_classes: Number of target classes; 0 for the untargeted loss.
    """
    if not target_classes or search.goal.targets is not None:
        yield 0, search.goal.loss(loss)
        return
    classes = search.top_wrong_classes(torch.arange(len(search.x), device=search.x.device), target_classes)
    for index, target_class in enumerate(classes.unbind(1)):
        yield index, search.goal.toward_class(target_class, scaled=loss == "dlr")


def random_start_on_surface(threat: Threat, clean: Tensor, rng: ExampleRNG, cache: ProjectionCache) -> Tensor:
    """Return random points (n, *S) whose perturbations are as large as the threat and the box allow."""
    z = threat.sample(clean, rng, cache)
    if isinstance(threat, ParametricThreat):
        return z
    # APGD starts on the surface of the ball: scale the perturbation to size eps, less where the box cuts it.
    size = threat.measure(z, clean)
    stretch = torch.where(size > 0, threat.eps / size, 1).to(clean.dtype)
    return threat.project(clean + expand_rows(stretch, z) * (z - clean), clean, cache)


def per_example_step(
    threat: Threat, z: Tensor, gradient: Tensor, step_size: Tensor, clean: Tensor, cache: ProjectionCache
) -> Tensor:
    """Return the points after one projected steepest-ascent step, with a step size for each example.

    Args:
        threat: Gives the steepest step and the projection.
        z: Points (n, *S).
        gradient: Gradients of the loss there (n, *S).
        step_size: Step sizes (n,), as fractions of ``eps``.
        clean: Clean inputs (n, *S).
        cache: Their projection cache.
    """
    step = threat.steepest_step(gradient.nan_to_num(0.0, 0.0, 0.0), threat.eps)
    return threat.project(z + expand_rows(step_size, z) * step, clean, cache)


def update_best(state: APGDState, out: Evaluation) -> tuple[Tensor, Tensor]:
    """Return each example's best point so far (n, *S), and the gradient there (n, *S)."""
    improved = out.loss_values > state.best_loss
    return where_rows(improved, state.z, state.best_point), where_rows(
        improved, out.gradient, state.best_gradient
    )
