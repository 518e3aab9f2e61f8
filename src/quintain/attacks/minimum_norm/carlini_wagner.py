"""The attacks of Carlini and Wagner: the box is dissolved by a change of variables, and one number per example is found by bisection."""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from quintain.attacks.ascent_loop import select_rows
from quintain.attacks.base import Attack
from quintain.attacks.minimum_norm.constant_search import binary_search_constant
from quintain.attacks.minimum_norm.per_example_projection import change_norm, safe_divisor, safe_l2_norm
from quintain.attacks.minimum_norm.refinement import find_initial_adversarial, refine
from quintain.attacks.search import Search
from quintain.attacks.step_sizes import cosine_decay
from quintain.core.errors import SettingError
from quintain.core.threat_specs import threat_name
from quintain.threats.broadcast import expand_rows
from quintain.threats.rounding import representable_box

TANH_MARGIN_L2 = 1 - 1e-6
"""How near to a face of the box a point begins, of the way from its middle: on it, no step in w would move the point."""

TANH_MARGIN_LINF = 0.9
"""The same in Linf, where any coordinate may have to cross its whole cube."""


@dataclass(frozen=True, slots=True)
class CarliniWagner(Attack):
    r"""Adam on the size of the change and on what the margin lacks, in variables without bounds.

    .. math:: \min_w \|z - x\|_2^2 + c \max(-m(f(z), y), 0), \qquad z = mid + half \cdot \tanh w

    In L2, ``mid`` and ``half`` are the box's, and ``c`` of each example is bisected between one that broke it
    and one that did not. In Linf they are those of the box cut with the cube of side :math:`2 \tau` around x;
    within it only the second term is left, and :math:`\tau` is bisected. The first break comes from signed
    steps across the box, and every search starts from the best point so far: with steps scaled to its
    distance, since from the faces of the box, where :math:`\tanh` is flat, small steps lead nowhere.

    Args:
        binary_search_steps: Values of ``c`` or :math:`\tau` per example.
        steps: Gradients of each; in Linf a break ends it, in L2 a value that has not fallen by a
            ten-thousandth in a tenth of them.
        learning_rate: The first step: in L2 as a share of the largest change so far, in Linf in units of w;
            the last is a hundredth (a cosine).

    Raises:
        SettingError: If a setting is not positive, or ``steps`` below 10.

    Guarantee:
        What it calls broken is of the size given and was answered wrongly twice; there may be smaller
        changes.

    Source: Carlini and Wagner, 2017, arXiv:1608.04644.
    """

    name: ClassVar[str] = "carlini-wagner"
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2")
    minimum_norm: ClassVar[bool] = True

    binary_search_steps: int = 9
    steps: int = 100
    learning_rate: float = 0.3

    def __post_init__(self) -> None:
        if self.binary_search_steps < 1 or self.steps < 10:
            raise SettingError(f"binary_search_steps = {self.binary_search_steps}, steps = {self.steps}; expected at least 1 and 10")
        if not 0 < self.learning_rate < math.inf:
            raise SettingError(f"learning_rate = {self.learning_rate}; expected a positive number, such as 0.3")

    def run(self, search: Search) -> None:
        """Bisect, then refine."""
        find_initial_adversarial(search, search.active_rows)
        (self._run_l2 if threat_name(search.threat.spec) == "l2" else self._run_linf)(search)
        refine(search, search.active_rows)

    def _run_l2(self, search: Search) -> None:
        rows, first = search.active_rows, torch.ones_like(search.best_margin)
        if len(rows):
            gradient = search.value_and_grad(search.best[rows], rows, search.goal.margin).gradient.nan_to_num(0.0, 0.0, 0.0)
            first[rows] = 2 * change_norm(search.threat, search.best[rows] - search.x[rows]) / safe_l2_norm(gradient)
        binary_search_constant(search, self.binary_search_steps, first, partial(self._minimize, search))

    def _minimize(self, search: Search, rows: Tensor, constant: Tensor) -> Tensor:
        """One search in L2, with ``constant`` (B,); whether its later half held a break (B,)."""
        low, high = representable_box(search.threat.low, search.threat.high, search.x.dtype)
        middle, half = (low + high) / 2, (high - low) / 2
        clean, best = search.x[rows], search.best[rows]
        max_change = (best - clean).flatten(1).abs().amax(1)
        max_change = expand_rows(torch.where(max_change > 0, max_change, half), clean)
        state = _start((best - middle) / half, TANH_MARGIN_L2)
        best_objective = last_objective = torch.full_like(max_change.flatten(), torch.inf)
        succeeded = torch.zeros_like(search.success)
        for step in range(self.steps):
            if not len(rows):
                break
            tanh = state.w.tanh()
            z = middle + half * tanh
            out = search.value_and_grad(z, rows, search.goal.margin)
            second_half, adversarial = step >= self.steps // 2, search.goal.is_adversarial(out.logits, rows)
            succeeded[rows] |= adversarial & second_half
            c, change = constant[rows].to(z.dtype), z - clean
            best_objective = torch.minimum(
                best_objective, change.flatten(1).square().sum(1) + c * (-out.loss_values).clamp(min=0).to(z.dtype)
            )
            objective_gradient = 2 * change - expand_rows(c * ~adversarial, z) * out.gradient.nan_to_num(0.0, 0.0, 0.0)
            dz_dw = half * (1 - tanh.square())
            state = _adam(
                state,
                objective_gradient * dz_dw,
                step,
                cosine_decay(self.learning_rate, 0.01, step, self.steps) * (max_change / dz_dw).clamp(max=0.5),
            )
            active = search.is_active(rows)
            if second_half and step % (self.steps // 10) == 0:
                active &= best_objective < 0.9999 * last_objective
                last_objective = best_objective
            if not active.all():
                rows, clean, max_change, best_objective, last_objective = (
                    part[active] for part in (rows, clean, max_change, best_objective, last_objective)
                )
                state = select_rows(state, active)
        return succeeded

    def _run_linf(self, search: Search) -> None:
        low, high = representable_box(search.threat.low, search.threat.high, search.x.dtype)
        failed = torch.zeros_like(search.best_size)
        for _ in range(self.binary_search_steps):
            rows = search.active_rows
            rows = rows[failed[rows] < high - low]
            tau, clean = ((failed[rows] + search.best_size[rows]) / 2).clamp(max=high - low), search.x[rows]
            side = expand_rows(tau.to(clean.dtype), clean)
            lower, upper = (clean - side).clamp(min=low), (clean + side).clamp(max=high)
            middle, half = (lower + upper) / 2, (upper - lower) / 2
            state = _start(((search.best[rows] - middle) / half).nan_to_num(0.0), TANH_MARGIN_LINF)
            for step in range(self.steps):
                if not len(rows):
                    break
                tanh = state.w.tanh()
                out = search.value_and_grad(middle + half * tanh, rows, search.goal.margin)
                objective_gradient = -out.gradient.nan_to_num(0.0, 0.0, 0.0) * half * (1 - tanh.square())
                state = _adam(state, objective_gradient, step, cosine_decay(self.learning_rate, 0.01, step, self.steps))
                active = search.is_active(rows) & ~search.goal.is_adversarial(out.logits, rows)
                if not active.all():
                    rows, tau, middle, half, state = *(part[active] for part in (rows, tau, middle, half)), select_rows(state, active)
            failed[rows] = tau


class Moments(NamedTuple):
    """What Adam remembers of each example: the variables, and the running means of the gradient and of its square."""

    w: Tensor
    mean: Tensor
    square: Tensor


def _start(share: Tensor, edge: float) -> Moments:
    """At given shares (n, *S) of the way from the middle to the faces, none nearer to them than ``edge``."""
    share = share.clamp(-edge, edge)
    w = ((1 + share) / (1 - share)).log() / 2
    return Moments(w, torch.zeros_like(w), torch.zeros_like(w))


def _adam(state: Moments, gradient: Tensor, step: int, learning_rate: Tensor | float) -> Moments:
    """One step downwards, with the usual decays 0.9 and 0.999; nothing where every gradient was zero."""
    mean, square = 0.9 * state.mean + 0.1 * gradient, 0.999 * state.square + 0.001 * gradient.square()
    scale = (square / (1 - 0.999 ** (step + 1))).sqrt()
    change = learning_rate * mean / (1 - 0.9 ** (step + 1)) / safe_divisor(scale)
    return Moments(state.w - change, mean, square)
