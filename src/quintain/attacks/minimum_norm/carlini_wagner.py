"""The L2 and Linf attacks of Carlini and Wagner."""

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
from quintain.core.limits import require_at_least
from quintain.core.threat_specs import threat_name
from quintain.threats.broadcast import expand_rows
from quintain.threats.rounding import representable_box

MAX_INITIAL_TANH_L2 = 1 - 1e-6
"""Largest absolute value of tanh at the first point in L2: below 1, where tanh has no gradient."""

MAX_INITIAL_TANH_LINF = 0.9
"""The same in Linf: smaller, since any coordinate may have to cross its whole interval."""


@dataclass(frozen=True, slots=True)
class CarliniWagner(Attack):
    r"""Adam on the size of the perturbation plus the missing margin, in unbounded variables.

    .. math:: \min_w \|z - x\|_2^2 + c \max(-m(f(z), y), 0), \qquad z = mid + half \cdot \tanh w

    In L2, mid and half describe the data box. The constant c is found for each example by binary search: a
    success lowers it, a failure raises it. Adam's step is divided by dz/dw, so that it moves z by about
    ``learning_rate`` times the largest change of a coordinate so far, also near the faces of the box, where
    tanh is flat.

    In Linf, mid and half describe the box intersected with :math:`[x - \tau, x + \tau]`. Only the margin term
    is minimized, and :math:`\tau` is found by binary search.

    The first adversarial point comes from signed gradient steps. Each step of the binary search starts at the
    best point so far.

    Args:
        binary_search_steps: Values of c or :math:`\tau` that are tried per example.
        steps: Gradients per value. In Linf a success ends it; in L2 it ends, in its second half, once the
            objective fell by less than 1e-4 of itself in a tenth of the steps.
        learning_rate: Size of the first step: in L2 as a fraction of the largest change so far, in Linf in
            units of w. It falls to a hundredth along a cosine.

    Raises:
        SettingError: If a setting is not positive, or ``steps`` is below 10.

    Guarantee:
        Each success has the stated size and was confirmed by a second forward pass on the stored point. A
        smaller perturbation may exist.

    Source: Carlini and Wagner, 2017, arXiv:1608.04644.
    """

    name: ClassVar[str] = "carlini-wagner"
    summary: ClassVar[str] = (
        "Adam on the size of the change and the missing margin, with a binary search per example"
    )
    use_for: ClassVar[str] = "the classic reference, with more patience"
    cost: ClassVar[str] = "{steps} gradients, {binary_search_steps} times"
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2")
    minimum_norm: ClassVar[bool] = True
    test_settings: ClassVar = {"binary_search_steps": 3, "steps": 15}

    binary_search_steps: int = 9
    steps: int = 100
    learning_rate: float = 0.3

    def __post_init__(self) -> None:
        require_at_least(1, binary_search_steps=self.binary_search_steps)
        require_at_least(10, steps=self.steps)
        if not 0 < self.learning_rate < math.inf:
            raise SettingError(
                f"learning_rate = {self.learning_rate}; expected a positive number, such as 0.3"
            )

    def run(self, search: Search) -> None:
        """Find a first adversarial point, run the binary search, then refine the best points."""
        find_initial_adversarial(search, search.active_rows)
        (self._run_l2 if threat_name(search.threat.spec) == "l2" else self._run_linf)(search)
        refine(search, search.active_rows)

    def _run_l2(self, search: Search) -> None:
        rows, initial_constant = search.active_rows, torch.ones_like(search.best_margin)
        if len(rows):
            gradient = search.value_and_grad(search.best[rows], rows, search.goal.margin).gradient.nan_to_num(
                0.0, 0.0, 0.0
            )
            # c where both terms have equal gradients at the first adversarial point: 2 |delta| / |grad m|
            initial_constant[rows] = (
                2 * change_norm(search.threat, search.best[rows] - search.x[rows]) / safe_l2_norm(gradient)
            )
        binary_search_constant(
            search, self.binary_search_steps, initial_constant, partial(self._minimize, search)
        )

    def _minimize(self, search: Search, rows: Tensor, constant: Tensor) -> Tensor:
        """Minimize the L2 objective, and return which examples (B,) succeeded in the second half of it.

        Args:
            search: Keeps the best points, from which the minimization starts.
            rows: The examples to minimize for (n,).
            constant: The constant c of every example of the batch (B,).
        """
        low, high = representable_box(search.threat.low, search.threat.high, search.x.dtype)
        middle, half = (low + high) / 2, (high - low) / 2
        clean, best = search.x[rows], search.best[rows]
        # scale of the steps: the largest change of a coordinate so far, or half the box where nothing changed
        max_change = (best - clean).flatten(1).abs().amax(1)
        max_change = expand_rows(torch.where(max_change > 0, max_change, half), clean)
        state = _initial_adam_state((best - middle) / half, MAX_INITIAL_TANH_L2)
        best_objective = last_objective = torch.full_like(max_change.flatten(), torch.inf)
        succeeded = torch.zeros_like(search.success)
        for step in range(self.steps):
            if not len(rows):
                break
            tanh = state.w.tanh()
            z = middle + half * tanh
            out = search.value_and_grad(z, rows, search.goal.margin)
            second_half, adversarial = step >= self.steps // 2, search.goal.is_adversarial(out.logits, rows)
            # the start is adversarial already: only a success in the second half shows that c is large enough
            succeeded[rows] |= adversarial & second_half
            c, change = constant[rows].to(z.dtype), z - clean
            objective = change.flatten(1).square().sum(1) + c * (-out.loss_values).clamp(min=0).to(z.dtype)
            best_objective = torch.minimum(best_objective, objective)
            # gradient of |delta|^2 + c max(-m, 0) in z; the second term is flat where z is adversarial
            objective_gradient = 2 * change - expand_rows(c * ~adversarial, z) * out.gradient.nan_to_num(
                0.0, 0.0, 0.0
            )
            # chain rule: dz/dw = half (1 - tanh^2 w). A step of 1 in w moves z by dz/dw, so it is scaled to
            # move z by learning_rate * max_change, but at most by learning_rate / 2 in w
            dz_dw = half * (1 - tanh.square())
            state = _adam_step(
                state,
                objective_gradient * dz_dw,
                step,
                cosine_decay(self.learning_rate, 0.01, step, self.steps)
                * (max_change / dz_dw).clamp(max=0.5),
            )
            active = search.is_active(rows)
            # stop where a tenth of the steps lowered the objective by less than 1e-4 of itself, as
            # abort_early of the original code does
            if second_half and step % (self.steps // 10) == 0:
                active &= best_objective < 0.9999 * last_objective
                last_objective = best_objective
            if not active.all():
                rows, clean, max_change, best_objective, last_objective = (
                    tensor[active] for tensor in (rows, clean, max_change, best_objective, last_objective)
                )
                state = select_rows(state, active)
        return succeeded

    def _run_linf(self, search: Search) -> None:
        low, high = representable_box(search.threat.low, search.threat.high, search.x.dtype)
        # binary search on tau between the largest that failed and the smallest change that succeeded
        failed_tau = torch.zeros_like(search.best_size)
        for _ in range(self.binary_search_steps):
            rows = search.active_rows
            rows = rows[failed_tau[rows] < high - low]
            clean = search.x[rows]
            tau = ((failed_tau[rows] + search.best_size[rows]) / 2).clamp(max=high - low)
            radius = expand_rows(tau.to(clean.dtype), clean)
            lower, upper = (clean - radius).clamp(min=low), (clean + radius).clamp(max=high)
            middle, half = (lower + upper) / 2, (upper - lower) / 2
            state = _initial_adam_state(
                ((search.best[rows] - middle) / half).nan_to_num(0.0), MAX_INITIAL_TANH_LINF
            )
            for step in range(self.steps):
                if not len(rows):
                    break
                tanh = state.w.tanh()
                out = search.value_and_grad(middle + half * tanh, rows, search.goal.margin)
                objective_gradient = -out.gradient.nan_to_num(0.0, 0.0, 0.0) * half * (1 - tanh.square())
                state = _adam_step(
                    state, objective_gradient, step, cosine_decay(self.learning_rate, 0.01, step, self.steps)
                )
                active = search.is_active(rows) & ~search.goal.is_adversarial(out.logits, rows)
                if not active.all():
                    rows, tau, middle, half, state = (
                        *(tensor[active] for tensor in (rows, tau, middle, half)),
                        select_rows(state, active),
                    )
            failed_tau[rows] = tau


class AdamState(NamedTuple):
    """The state of Adam: the variables (n, *S), and running means of the gradient and of its square."""

    w: Tensor
    mean: Tensor
    mean_square: Tensor


def _initial_adam_state(tanh: Tensor, max_tanh: float) -> AdamState:
    """Return the state whose variables have the given tanh (n, *S), clamped to ``max_tanh``."""
    tanh = tanh.clamp(-max_tanh, max_tanh)
    w = ((1 + tanh) / (1 - tanh)).log() / 2  # atanh
    return AdamState(w, torch.zeros_like(w), torch.zeros_like(w))


def _adam_step(state: AdamState, gradient: Tensor, step: int, learning_rate: Tensor | float) -> AdamState:
    """Return the state after one descent step of Adam, with decays 0.9 and 0.999 and without epsilon.

    A variable whose gradients were all 0 does not move.
    """
    mean, mean_square = (
        0.9 * state.mean + 0.1 * gradient,
        0.999 * state.mean_square + 0.001 * gradient.square(),
    )
    # bias correction of both running means
    scale = (mean_square / (1 - 0.999 ** (step + 1))).sqrt()
    change = learning_rate * mean / (1 - 0.9 ** (step + 1)) / safe_divisor(scale)
    return AdamState(state.w - change, mean, mean_square)
