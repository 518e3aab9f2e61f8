"""Auto-PGD: projected gradient ascent that sets its own step length."""

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
from quintain.attacks.gradient.apgd_step_size import StepSizeState, checkpoints, initial_step_size_state, update_step_size
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
"""The share of the last move that is made once more."""

INITIAL_STEP = 2.0
"""Length of the first steps, as a share of ``eps``."""


class APGDState(NamedTuple):
    """Next points ``z``, the ones before, each example's highest point and the gradient there; then its pace."""

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

    from a random point on the face of the threat, with :math:`s` its steepest step and :math:`\alpha = 2
    \varepsilon` at first. At checkpoints that lie closer and closer, an example whose loss rose too seldom,
    or whose best loss stood still, halves its step and goes back to its best point, with the gradient that
    was found there and without momentum. In L1 it is ``climb_l1``, another rule.

    With ``target_classes``, it climbs towards one wrong class after the other, in the order of their clean
    logits: guides, since any wrong class counts as broken, and where the classes to be answered are given,
    one climb towards those.

    Args:
        steps: Gradients per example, restart and guide; a broken example stops paying.
        restarts: How many random points to start from, for each guide.
        loss: What is ascended: ``ce``, ``margin``, ``dlr`` or ``probability``; for guides ``margin`` or
            ``dlr``.
        target_classes: How many wrong classes guide it, at most K - 1; 0 for the loss of all classes
            together.
        patience: At each checkpoint a climb is given up whose loss would stay below 0 even if it rose
            ``patience`` times as fast as on average so far; without end if not given, as published. Climbs
            slow down, so that 1 spares more than half of the gradients and hardly ever a break.

    Raises:
        SettingError: If a setting is out of range.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may
        still be breakable.

    Source: Croce and Hein, 2020, arXiv:2003.01690.
    """

    name: ClassVar[str] = "apgd"
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

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
            raise SettingError(f"loss = {self.loss!r} with targets; expected margin or dlr, which are defined between two classes")

    @property
    def label(self) -> str:
        """Its name and what it follows: ``apgd-ce``, ``apgd-t``."""
        return f"{self.name}-t" if self.target_classes else f"{self.name}-{self.loss}"

    def run(self, search: Search) -> None:
        """Climb from each start, towards each guide."""
        checkpoint_windows = checkpoints(self.steps)

        def init(clean: Tensor, rng: ExampleRNG, cache: ProjectionCache) -> APGDState:
            z = random_start_on_surface(search.threat, clean, rng, cache)
            return APGDState(z, z, z, torch.zeros_like(z), *initial_step_size_state(len(z), clean, INITIAL_STEP))

        def update(step: int, state: APGDState, out: Evaluation, clean: Tensor, cache: ProjectionCache) -> APGDState:
            best_point, best_gradient = update_best(state, out)
            step_state, halve = update_step_size(StepSizeState(*state[4:]), out.loss_values, step, checkpoint_windows.get(step))
            z, previous_point, gradient = state.z, state.previous_point, out.gradient
            if halve is not None:
                z, previous_point, gradient = (
                    where_rows(halve, best_point, z),
                    where_rows(halve, best_point, previous_point),
                    where_rows(halve, best_gradient, gradient),
                )
            move = per_example_step(search.threat, z, gradient, step_state.step_size, clean, cache)
            if step:
                move = search.threat.project(z + (1 - MOMENTUM) * (move - z) + MOMENTUM * (z - previous_point), clean, cache)
            return APGDState(move, z, best_point, best_gradient, *step_state)

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
                        search, rng=search.rng.fold_in(restart, index), init=init, update=update, steps=self.steps, loss=loss, keep=keep
                    )


def losses_by_target_class(search: Search, loss: str, target_classes: int) -> Iterator[tuple[int, Loss]]:
    """The losses to be climbed one after the other, each with its place: of all classes together, or towards one rival an example."""
    if not target_classes or search.goal.targets is not None:
        yield 0, search.goal.loss(loss)
        return
    classes = search.top_wrong_classes(torch.arange(len(search.x), device=search.x.device), target_classes)
    for index, target_class in enumerate(classes.unbind(1)):
        yield index, search.goal.toward_class(target_class, scaled=loss == "dlr")


def random_start_on_surface(threat: Threat, clean: Tensor, rng: ExampleRNG, cache: ProjectionCache) -> Tensor:
    """A random allowed point an example, pushed out until its change is as large as the threat allows, or the box."""
    z = threat.sample(clean, rng, cache)
    if isinstance(threat, ParametricThreat):
        return z
    size = threat.measure(z, clean)
    stretch = torch.where(size > 0, threat.eps / size, 1).to(clean.dtype)
    return threat.project(clean + expand_rows(stretch, z) * (z - clean), clean, cache)


def per_example_step(threat: Threat, z: Tensor, gradient: Tensor, step_size: Tensor, clean: Tensor, cache: ProjectionCache) -> Tensor:
    """One steepest step an example, of its own ``step_size`` (n,) as a share of ``eps``, projected; nothing along what is not finite."""
    step = threat.steepest_step(gradient.nan_to_num(0.0, 0.0, 0.0), threat.eps)
    return threat.project(z + expand_rows(step_size, z) * step, clean, cache)


def update_best(state: APGDState, out: Evaluation) -> tuple[Tensor, Tensor]:
    """Each example's highest point so far, and the gradient there."""
    better = out.loss_values > state.best_loss
    return where_rows(better, state.z, state.best_point), where_rows(better, out.gradient, state.best_gradient)
