"""The only way in which attacks call a model: it counts passes, limits queries and checks outputs."""

import torch
from torch import Tensor, nn

from quintain.attacks.goal import Loss
from quintain.attacks.input_gradient import input_gradient
from quintain.attacks.outcome import Model
from quintain.core.errors import DataError, ModelError, SettingError
from quintain.models.memory import is_out_of_memory
from quintain.models.modules import all_modules, any_training

MAX_BATCH = 256
"""Maximum number of points in one call of the model, for attacks that query many points per example."""


class CountedModel:
    """A model that counts its forward and backward passes for each example of a batch.

    Args:
        model: Returns logits (n, K) of images (n, *S). Where it has ``queries_per_call``, such as the noise
            samples of ``EOT``, one call counts as so many passes.
        y: True classes (B,) of the whole batch.
        max_queries: Maximum number of forward passes for each example; no limit if not given.
        targets: Target classes (B,) of a targeted attack.

    Raises:
        ModelError: If the model is a module in training mode, or returns anything but (B, K >= 2)
            floating-point logits.
        DataError: If a label or target is not one of the model's classes.
    """

    def __init__(
        self, model: Model, y: Tensor, max_queries: int | None = None, targets: Tensor | None = None
    ) -> None:
        check_eval_mode(model)
        self.wrapped = model
        """The model itself, whose calls are not counted."""
        self.max_queries = max_queries
        self.queries_per_call = int(getattr(model, "queries_per_call", 1))
        self.forwards = torch.zeros_like(y, dtype=torch.long)
        """Forward passes so far of each example (B,)."""
        self.backwards = torch.zeros_like(self.forwards)
        """Backward passes so far of each example (B,)."""
        # compared with the number of classes in each forward pass, since only the logits show it
        self._class_ranges = {
            name: (int(classes.min()), int(classes.max()))
            for name, classes in (("labels", y), ("targets", targets))
            if classes is not None and len(classes)
        }

    def queries_left(self, rows: Tensor) -> Tensor:
        """Return how many more calls of the model each of the examples ``rows`` (n,) may make (n,)."""
        limit = torch.iinfo(torch.long).max if self.max_queries is None else self.max_queries
        return (limit - self.forwards[rows]) // self.queries_per_call

    def logits(self, z: Tensor, rows: Tensor) -> Tensor:
        """Return logits (n, K) of images (n, *S) that belong to the examples ``rows`` (n,) of the batch."""
        with torch.no_grad():
            return self._forward(z, rows)

    def value_and_grad(
        self, z: Tensor, rows: Tensor, loss: Loss, to_image: Model | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (n, K), loss values (n,) and gradients (n, ...) at points ``z``.

        The gradients are those of the loss with respect to ``z``; no weight of the model gets one.

        Args:
            z: Points (n, ...): images, or the parameters from which ``to_image`` makes images.
            rows: Indices (n,) of the examples that the points belong to.
            loss: The loss that is differentiated, a function of logits (n, K) and ``rows``.
            to_image: Makes images (n, *S) from points; the points are the images if not given.

        Raises:
            ModelError: If the logits do not depend on ``z`` by differentiable steps.
        """
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            logits = self._forward(z if to_image is None else to_image(z), rows)
            values = loss(logits, rows)
            # one backward pass of the sum gives each example its own gradient, since none depends on another
            gradient = input_gradient(values.sum(), z)
            self.backwards.index_add_(0, rows, torch.full_like(rows, self.queries_per_call))
        return logits.detach(), values.detach(), gradient

    def _forward(self, image: Tensor, rows: Tensor) -> Tensor:
        """Return the checked logits (n, K) of images (n, *S), and count the forward passes."""
        self.forwards.index_add_(0, rows, torch.full_like(rows, self.queries_per_call))
        if self.max_queries is not None and int(self.forwards[rows].amax()) > self.max_queries:
            raise SettingError(
                f"an attack made more than max_queries = {self.max_queries} forward passes for an example; "
                "it must check Search.is_active(rows, queries=n) before it queries"
            )
        try:
            logits = self.wrapped(image)
        except Exception as error:
            if is_out_of_memory(error):  # these passes were not made; the same points may be queried in parts
                self.forwards.index_add_(0, rows, torch.full_like(rows, -self.queries_per_call))
            raise
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
                f"the model returns {got} for images {tuple(image.shape)}; "
                f"expected floating-point logits ({len(image)}, K): wrap it in Classifier"
            )
        num_classes = logits.shape[1]
        if num_classes < 2:
            raise ModelError(
                "the model returns one logit; expected (B, K) with K >= 2: wrap it in Classifier, which "
                "reads it as (0, z)"
            )
        for name, (lowest, highest) in self._class_ranges.items():
            if not 0 <= lowest <= highest < num_classes:
                raise DataError(
                    f"{name} range from {lowest} to {highest}; expected 0 to {num_classes - 1}, the model's "
                    "classes"
                )
        return logits


def check_eval_mode(model: Model) -> None:
    """Raise if the model is a module in training mode.

    Raises:
        ModelError: If the module or any of its submodules is.
    """
    if isinstance(model, nn.Module) and any_training(all_modules(model)):
        raise ModelError(
            "the model is in training mode; expected evaluation mode: call model.eval(), "
            "or wrap it in Classifier(net, allow_train_mode=True) where dropout is the defense"
        )
