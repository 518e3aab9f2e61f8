"""State of one attack on one batch: model calls, budgets, success and best points."""

from collections.abc import Callable
from copy import copy
from typing import NamedTuple, Self

import torch
from torch import Tensor

from quintain.attacks.counted_model import CountedModel
from quintain.attacks.goal import Goal, Loss
from quintain.attacks.outcome import AttackOutcome, Model
from quintain.models.devices import device_of
from quintain.models.memory import in_fitting_parts
from quintain.models.precision import full_precision
from quintain.threats.parametric import ParametricThreat, identity, is_allowed, to_image
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import Threat, in_box

RELATIVE_NUDGES = (1e-6, 1e-5, 1e-4, 1e-3)
"""Relative amounts by which a minimum-norm result is moved away from the clean input if it fails its
confirmation.

Such points lie so close to the boundary that another batch, and so other rounding, changes the class.
"""


class Evaluation(NamedTuple):
    """Logits (n, K), values of the loss (n,) and its gradients (n, ...) at n points."""

    logits: Tensor
    loss_values: Tensor
    gradient: Tensor


class Search:
    """State of one attack on one batch.

    It runs the model, counts forward and backward passes per example, checks each output for success and
    keeps each example's best point. ``z`` is what the adversary controls: the image itself for a norm ball,
    the parameters (B, P) for a parametric threat. Points passed to ``query`` and ``value_and_grad`` must be
    allowed by the threat; in a minimum-norm attack any point may be passed, and the smallest successful one
    is kept.

    Args:
        model: Gives logits (B, K).
        x: Clean inputs (B, *S).
        goal: What counts as a success.
        threat: What may be changed.
        rng: Random numbers of each example.
        name: Of the attack.
        minimum_norm: Keep the smallest successful perturbation, and go on after a success; otherwise an
            example ends at its first.
        max_queries: Most forward passes for an example, the confirming one included.
        certified: Examples (B,) bool that are not attacked.
    """

    def __init__(
        self,
        model: Model,
        x: Tensor,
        goal: Goal,
        threat: Threat,
        rng: ExampleRNG,
        *,
        name: str,
        minimum_norm: bool = False,
        max_queries: int | None = None,
        certified: Tensor | None = None,
    ) -> None:
        self.x, self.goal, self.threat, self.rng, self.name, self.minimum_norm = (
            x,
            goal,
            threat,
            rng,
            name,
            minimum_norm,
        )
        self.model = CountedModel(model, goal.y, max_queries, goal.targets)
        self.model_device = x.device if x.device.type != "cpu" else device_of(model)
        self.parametric = threat if isinstance(threat, ParametricThreat) else None
        self.origin = identity(threat, x)
        self.best = self.origin.clone()
        self.best_margin = x.new_full((len(x),), -torch.inf)
        self.best_size = torch.full_like(self.best_margin, torch.inf, dtype=torch.float64)
        # an attack that sets half_queries (half of its queries) is told the smallest size found within them
        self.half_queries, self.size_at_half = 0, self.best_size.clone()
        self.success = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self.error, self.saw_nan = self.success.clone(), self.success.clone()
        self.clean_success = self.success.clone()
        self.queries_to_success = torch.zeros_like(goal.y)
        self.certified = torch.zeros_like(self.success) if certified is None else certified
        self.clean_logits = self._query_clean((~self.certified).nonzero().squeeze(1))
        self.clean_success = self.success.clone()
        self.best_size[self.success] = 0
        self.confirmed = torch.zeros_like(self.success)
        self.found_by: dict[int, str] = {}

    @property
    def active_rows(self) -> Tensor:
        """The indices of the examples that are still under attack (n,)."""
        return self.is_active(torch.arange(len(self.x), device=self.x.device)).nonzero().squeeze(1)

    def is_active(self, rows: Tensor, queries: int = 1) -> Tensor:
        """Whether each of ``rows`` is under attack and can afford ``queries`` forward passes (n,).

        One more forward pass must be left, to confirm a success.
        """
        done = (
            self.certified
            | self.error
            | (self.clean_success | self.saw_nan if self.minimum_norm else self.success)
        )
        active = ~done[rows]
        return (
            active if self.model.max_queries is None else active & (self.model.queries_left(rows) > queries)
        )

    def probe(self, z: Tensor, rows: Tensor) -> Tensor:
        """Return logits (n, K) at probes, which are not recorded as candidates; ``rows`` may repeat."""
        return self.model.logits(self._to_image(z, rows), rows)

    def probe_in_parts(self, z: Tensor, rows: Tensor) -> Tensor:
        """Return logits (n, K) at many probes of few examples, in halves where memory runs out."""

        def logits(part: slice) -> Tensor:
            return self.probe(z[part], rows[part])

        return torch.cat(list(in_fitting_parts(logits, len(z), work=f"probes of {self.name}")))

    def query(self, z: Tensor, rows: Tensor) -> Tensor:
        """Return logits (n, K) at candidates, one per example, and record each candidate."""
        logits = self.probe(z, rows)
        self.keep_best(z, rows, logits)
        return logits

    def value_and_grad(
        self, z: Tensor, rows: Tensor, loss: Loss, input_transform: Callable[[Tensor], Tensor] | None = None
    ) -> Evaluation:
        """Return logits, loss values and gradients at candidates, one per example, and record each candidate.

        Args:
            z: The candidates (n, ...).
            rows: Their examples (n,).
            loss: What is differentiated.
            input_transform: Differentiable map from the candidates' images to the images that the model
                receives (input diversity, EOT). The forward pass is counted for every example. A success is
                recorded only where the transform returned the candidate's image unchanged, bit for bit,
                because only there was the candidate itself classified.
        """
        if input_transform is None:
            image = None if self.parametric is None else (lambda point: self._to_image(point, rows))
            out = Evaluation(*self.model.value_and_grad(z, rows, loss, image))
            self.keep_best(z, rows, out.logits)
            return out
        is_unchanged = torch.ones_like(rows, dtype=torch.bool)

        def transform_image(point: Tensor) -> Tensor:
            image = self._to_image(point, rows)
            transformed = input_transform(image)
            is_unchanged.copy_((transformed == image).flatten(1).all(1))
            return transformed

        out = Evaluation(*self.model.value_and_grad(z, rows, loss, transform_image))
        if is_unchanged.any():
            self.keep_best(z[is_unchanged], rows[is_unchanged], out.logits[is_unchanged])
        return out

    def keep_best(self, z: Tensor, rows: Tensor, logits: Tensor) -> None:
        """Record candidates: successes, better points and NaN outputs; ``rows`` do not repeat."""
        # A NaN margin is a model error. Otherwise a point is kept if it is adversarial or its margin is a new
        # best.
        margin = self.goal.margin(logits, rows).to(self.best_margin.dtype)
        adversarial, is_nan = self.goal.is_adversarial(logits, rows), margin.isnan()
        if self.minimum_norm:
            self._keep_smallest(z, rows, adversarial)
            self._note_nan(z, rows, is_nan)
            return
        if is_nan.any():
            self.error[rows] |= is_nan
        better = (adversarial | (margin > self.best_margin[rows])).nonzero().squeeze(1)
        if not len(better):
            return
        kept = rows[better]
        self.best[kept], self.best_margin[kept] = z[better], margin[better]
        if adversarial.any():
            self._note_success(rows[adversarial])

    def top_wrong_classes(self, rows: Tensor, count: int) -> Tensor:
        """Return the wrong classes with the largest clean logits, largest first: (n, min(count, K - 1))."""
        others = self.clean_logits[rows].scatter(1, self.goal.y[rows, None], -torch.inf)
        return others.topk(min(count, others.shape[1] - 1), dim=1).indices

    def branch(self, rng: ExampleRNG, *, name: str, minimum_norm: bool = False) -> Self:
        """Return a search of its own on the active examples, with the same counted model and clean logits.

        ``merge`` takes over its results.

        Args:
            rng: The examples' streams of random numbers.
            name: Of the attack that runs on it.
            minimum_norm: Whether that attack seeks the smallest perturbation.
        """
        # A branch shares the model and its counters, but has its own best points; examples that are already
        # decided are marked as clean successes, so that they are not attacked again.
        child = copy(self)
        child.rng, child.name, child.minimum_norm, child.found_by = rng, name, minimum_norm, {}
        child.best_margin, child.best_size, child.queries_to_success = (
            self.best_margin.clone(),
            self.best_size.clone(),
            self.queries_to_success.clone(),
        )
        child.half_queries, child.size_at_half = 0, torch.full_like(self.best_size, torch.inf)
        child.best = self.origin.clone() if minimum_norm else self.best.clone()
        child.success, child.error, child.saw_nan = (
            self.success.clone(),
            self.error.clone(),
            torch.zeros_like(self.saw_nan),
        )
        child.confirmed = self.success | self.error
        child.clean_success = child.confirmed.clone()
        return child

    def merge(self, branch: "Search") -> None:
        """Take over a branch's confirmed successes and errors, and its best points.

        Of a minimum-norm branch, only the best points of new successes are taken over.
        """
        # A branch that maximizes the margin began at the best points of this search, so that its own are at
        # least as good. The best point of a minimum-norm branch need not have a larger margin.
        decided = branch.clean_success
        branch.confirm()
        new = branch.success & ~decided
        taken = new if branch.minimum_norm else ~decided
        self.best[taken], self.best_margin[taken] = branch.best[taken], branch.best_margin[taken]
        self.success, self.confirmed, self.error = (
            self.success | new,
            self.confirmed | new,
            self.error | branch.error,
        )
        self.queries_to_success[new] = branch.queries_to_success[new]
        self.found_by.update(dict.fromkeys(new.nonzero().squeeze(1).tolist(), branch.name))

    def confirm(self) -> None:
        """Confirm new successes by a second forward pass on the stored points.

        A success that is not reproduced is no success.
        """
        if self.minimum_norm:
            # Minimum norm: a success is a best point of size at most eps; older confirmed ones stay.
            self.success = (self.confirmed & self.success) | (
                (self.best_size <= self.threat.eps) & ~self.error & ~self.confirmed
            )
            self.best[~self.success] = self.origin[~self.success]
        rows = (self.success & ~self.confirmed).nonzero().squeeze(1)
        if len(rows):
            # A success that is not reproduced lies on the boundary: move it outwards by 1e-6 ... 1e-3 of its
            # size, project, and query again while the budget lasts.
            unconfirmed = rows[~self._confirm_rows(rows)]
            for nudge in RELATIVE_NUDGES if self.minimum_norm and self.parametric is None else ():
                unconfirmed = unconfirmed[self.model.queries_left(unconfirmed) > 0]
                if not len(unconfirmed):
                    break
                clean = self.x[unconfirmed]
                self.best[unconfirmed] = self.threat.project(
                    clean + (1 + nudge) * (self.best[unconfirmed] - clean), clean
                )
                unconfirmed = unconfirmed[~self._confirm_rows(unconfirmed)]
            if self.minimum_norm:
                self.best[unconfirmed] = self.origin[unconfirmed]
        self.confirmed = self.confirmed | self.success

    def outcome(self) -> AttackOutcome:
        """Confirm the successes and return the result."""
        self.confirm()
        size = self.threat.measure(self.best, self.x) if len(self.x) else self.best_size
        found_by = tuple(
            ("unchanged" if same else self.found_by.get(row, self.name)) if hit else ""
            for row, (hit, same) in enumerate(
                zip(self.success.tolist(), self.clean_success.tolist(), strict=True)
            )
        )
        return AttackOutcome(
            adversarial=to_image(self.threat, self.best, self.x),
            success=self.success,
            size=torch.where(self.success, size.double(), torch.inf),
            forwards=self.model.forwards,
            backwards=self.model.backwards,
            error=self.error,
            found_by=found_by,
            queries_to_success=torch.where(self.success, self.queries_to_success, 0),
            params=None if self.parametric is None else self.best,
            threat=self.threat.spec,
            smallest_sizes=torch.stack([self.size_at_half, self.best_size]) if self.half_queries else None,
        )

    def _query_clean(self, rows: Tensor) -> Tensor:
        """Return the logits (B, K) of the clean inputs, 0 for those that are certified."""
        if not len(rows):
            return self.x.new_zeros(len(self.x), 2)
        with full_precision(self.model_device):
            logits = self.query(self.origin[rows], rows)
        return logits.new_zeros(len(self.x), logits.shape[1]).index_copy_(0, rows, logits)

    def _confirm_rows(self, rows: Tensor) -> Tensor:
        z, clean = self.best[rows], self.x[rows]
        # Verdicts are decided in full float32, never in TF32 or other formats of fewer bits.
        with full_precision(self.model_device):
            logits = self.probe(z, rows)
        self.success[rows] = is_valid_success(self.goal.is_adversarial(logits, rows), z, clean, self.threat)
        self.error[rows] = logits.isnan().any(1)
        return self.success[rows] | self.error[rows]

    def _keep_smallest(self, z: Tensor, rows: Tensor, adversarial: Tensor) -> None:
        if not adversarial.any():
            return
        z, rows = z[adversarial], rows[adversarial]
        size = self.threat.measure(z, self.x[rows])
        less = (size < self.best_size[rows]) & in_box(self.threat, self._to_image(z, rows))
        self.best[rows[less]], self.best_size[rows[less]] = z[less], size[less]
        early = less & (self.model.forwards[rows] <= self.half_queries)
        self.size_at_half[rows[early]] = size[early]
        self._note_success(rows[less & (size <= self.threat.eps)])

    def _note_nan(self, z: Tensor, rows: Tensor, is_nan: Tensor) -> None:
        """End the attack on examples with a NaN output.

        It is recorded as an error only at points that the threat allows.
        """
        if is_nan.any():
            z, rows = z[is_nan], rows[is_nan]
            self.saw_nan[rows] = True
            self.error[rows] |= is_allowed(self.threat, z, self.x[rows])

    def _note_success(self, rows: Tensor) -> None:
        new = rows[~self.success[rows]]
        self.success[new], self.queries_to_success[new] = True, self.model.forwards[new]

    def _to_image(self, z: Tensor, rows: Tensor) -> Tensor:
        return z if self.parametric is None else self.parametric.render(self.x[rows], z)


def is_valid_success(adversarial: Tensor, z: Tensor, x: Tensor, threat: Threat) -> Tensor:
    """Whether each ``z`` is a success for its ``x`` (B,): adversarial, and allowed exactly, in float64.

    Args:
        adversarial: Whether the model's output at the stored ``z`` is adversarial (B,), as
            ``Goal.is_adversarial`` says.
        z: The adversary's points: images (B, *S), or parameters (B, P).
        x: Clean inputs (B, *S).
        threat: What may be changed.
    """
    return adversarial & is_allowed(threat, z, x)
