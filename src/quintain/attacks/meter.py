"""The only way to a model: it counts what each example costs and refuses answers that are not logits."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from quintain.attacks.outcome import Model
from quintain.core.errors import DataError, ModelError

Loss = Callable[[Tensor, Tensor], Tensor]
"""A value per example (B,) of logits (B, K) and true classes (B,)."""


class Meter:
    """A model with a counter for each example of a batch.

    Args:
        model: Gives logits (B, K).
        y: True classes (B,) of the whole batch.

    Raises:
        ModelError: If the model is a module in training mode, or answers with anything but (B, K >= 2) floating-point logits.
        DataError: If a label is not one of the model's classes.
    """

    def __init__(self, model: Model, y: Tensor) -> None:
        if isinstance(model, nn.Module) and any(module.training for module in model.modules()):
            raise ModelError(
                "the model is in training mode; expected evaluation mode: call model.eval(), "
                "or wrap it in Classifier(net, allow_train_mode=True) where dropout is the defence"
            )
        self.model = model
        self.forwards = torch.zeros_like(y, dtype=torch.long)
        self.backwards = torch.zeros_like(self.forwards)
        self._least, self._most = (int(label) for label in torch.aminmax(y)) if len(y) else (0, 0)

    @torch.no_grad()
    def scores(self, z: Tensor, rows: Tensor) -> Tensor:
        """Logits (n, K) of points (n, *S) that belong to ``rows`` (n,) of the batch."""
        return self._ask(z, rows)

    def slope(self, z: Tensor, y: Tensor, rows: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """Logits (n, K), and the gradient (n, *S) of each point's loss; no weight gets a gradient."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            logits = self._ask(z, rows)
            value = loss(logits, y).sum()
            if not value.requires_grad:
                raise ModelError("the model gives no gradient; expected logits that depend on the input by differentiable steps")
            self.backwards.index_add_(0, rows, torch.ones_like(rows))
            (gradient,) = torch.autograd.grad(value, z)
        return logits.detach(), gradient

    def _ask(self, z: Tensor, rows: Tensor) -> Tensor:
        self.forwards.index_add_(0, rows, torch.ones_like(rows))
        logits = self.model(z)
        if not (isinstance(logits, Tensor) and logits.is_floating_point() and logits.dim() == 2 and len(logits) == len(z)):
            got = f"{tuple(logits.shape)} {logits.dtype}" if isinstance(logits, Tensor) else type(logits).__name__
            raise ModelError(
                f"the model answers {tuple(z.shape)} with {got}; expected floating-point logits ({len(z)}, K): wrap it in Classifier"
            )
        classes = logits.shape[1]
        if classes < 2:
            raise ModelError(
                "the model answers with one logit; expected (B, K) with K >= 2: wrap it in Classifier, which reads it as (0, z)"
            )
        if not (self._least >= 0 and self._most < classes):
            raise DataError(f"labels reach from {self._least} to {self._most}; expected 0 to {classes - 1}, the model's classes")
        return logits
