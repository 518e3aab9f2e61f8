"""The only way in which attacks call a model: passes are counted, budgets kept, outputs checked."""

import torch
from torch import Tensor, nn

from quintain.attacks.goal import Loss
from quintain.attacks.outcome import Model
from quintain.core.errors import DataError, ModelError, SettingError
from quintain.models.modules import all_modules, any_training

MAX_BATCH = 256
"""Most points in one call of the model, where an attack has many per example."""


class CountedModel:
    """A model that counts its forward and backward passes for each example of a batch.

    Args:
        model: Gives logits (B, K).
        y: True classes (B,) of the whole batch.
        max_queries: Most forward passes for an example; no limit if not given.

    Raises:
        ModelError: If the model is a module in training mode, or returns anything but (B, K >= 2)
            floating-point logits.
        DataError: If a label is not one of the model's classes.
    """

    def __init__(self, model: Model, y: Tensor, max_queries: int | None = None) -> None:
        check_eval_mode(model)
        self.wrapped = model
        self.max_queries = max_queries
        self.queries_per_call = int(getattr(model, "queries_per_call", 1))
        self.forwards = torch.zeros_like(y, dtype=torch.long)
        self.backwards = torch.zeros_like(self.forwards)
        # checked against the number of classes at the first forward pass
        self._least, self._most = (int(label) for label in torch.aminmax(y)) if len(y) else (0, 0)

    def queries_left(self, rows: Tensor) -> Tensor:
        """Return how many calls are left for each of ``rows`` (n,)."""
        most = torch.iinfo(torch.long).max if self.max_queries is None else self.max_queries
        return (most - self.forwards[rows]) // self.queries_per_call

    def logits(self, z: Tensor, rows: Tensor) -> Tensor:
        """Return logits (n, K) of images (n, *S) that belong to the examples ``rows`` (n,) of the batch."""
        with torch.no_grad():
            return self._ask(z, rows)

    def value_and_grad(
        self, z: Tensor, rows: Tensor, loss: Loss, to_image: Model | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (n, K), loss values (n,) and gradients (n, ...) at points ``z``.

        No weight gets a gradient.

        Args:
            z: Points (n, ...): images, or what ``to_image`` makes images of.
            rows: The examples that they belong to (n,).
            loss: What is differentiated.
            to_image: From points to images; the points themselves if not given.
        """
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            logits = self._ask(z if to_image is None else to_image(z), rows)
            values = loss(logits, rows)
            # Examples do not depend on each other, so one backward pass of the sum gives each its own
            # gradient.
            total = values.sum()
            if not total.requires_grad:
                raise ModelError(
                    "the model gives no gradient; expected logits that depend on the input by differentiable "
                    "steps"
                )
            self.backwards.index_add_(0, rows, torch.full_like(rows, self.queries_per_call))
            (gradient,) = torch.autograd.grad(total, z)
        return logits.detach(), values.detach(), gradient

    def _ask(self, image: Tensor, rows: Tensor) -> Tensor:
        self.forwards.index_add_(0, rows, torch.full_like(rows, self.queries_per_call))
        if self.max_queries is not None and int(self.forwards[rows].amax()) > self.max_queries:
            raise SettingError(
                f"an attack made more than max_queries = {self.max_queries} forward passes for an example; "
                "it must check Search.is_active(rows, queries=n) before it queries"
            )
        logits = self.wrapped(image)
        if not (
            isinstance(logits, Tensor)
            and logits.is_floating_point()
            and logits.dim() == 2
            and len(logits) == len(image)
        ):
            got = (
                f"{tuple(logits.shape)} {logits.dtype}"
                if isinstance(logits, Tensor)
                else type(logits).__name__
            )
            raise ModelError(
                f"the model answers {tuple(image.shape)} with {got}; "
                f"expected floating-point logits ({len(image)}, K): wrap it in Classifier"
            )
        classes = logits.shape[1]
        if classes < 2:
            raise ModelError(
                "the model answers with one logit; expected (B, K) with K >= 2: wrap it in Classifier, which "
                "reads it as (0, z)"
            )
        if not (self._least >= 0 and self._most < classes):
            raise DataError(
                f"labels range from {self._least} to {self._most}; expected 0 to {classes - 1}, the model's "
                "classes"
            )
        return logits


def check_eval_mode(model: Model) -> None:
    """Raise if a module is in training mode.

    Raises:
        ModelError: If it is one.
    """
    if isinstance(model, nn.Module) and any_training(all_modules(model)):
        raise ModelError(
            "the model is in training mode; expected evaluation mode: call model.eval(), "
            "or wrap it in Classifier(net, allow_train_mode=True) where dropout is the defense"
        )
