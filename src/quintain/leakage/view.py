"""Access to a model for an attacker: what it may query, and how many queries it has made."""

from typing import Protocol, final

import torch
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.models.protocol import Access, ClassifierLike, includes_access


class AttackerView(Protocol):
    """Metered access to something that may leak."""

    @property
    def access(self) -> str:
        """What it gives."""

    @property
    def queries(self) -> int:
        """Number of queries so far, each example of a batch counted."""


@final
class ModelView:
    """Metered queries of a model at an access level, which may be lower than what the model gives.

    Args:
        model: Returns logits (B, K) of inputs (B, *S).
        access: The attacker's level: ``labels``, ``scores`` or ``gradients``; the model's own if not given.
        max_queries: Most queries in all, each example of a batch counted; no limit if not given.

    Raises:
        SettingError: If the model gives less than that.
    """

    def __init__(
        self, model: ClassifierLike, *, access: Access | None = None, max_queries: int | None = None
    ) -> None:
        self._model = model
        self.access: Access = model.access if access is None else access
        if not includes_access(model.access, self.access):
            raise SettingError(
                f"a view of {self.access} of {model.name}, which gives {model.access}; expected no more "
                "than it gives"
            )
        self.max_queries = max_queries
        self.queries = 0
        self.gradients = 0

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self._model.num_classes

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self._model.device

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type in which the model computes."""
        return self._model.dtype

    def labels(self, x: Tensor) -> Tensor:
        """Return the predicted classes (B,) of inputs (B, *S)."""
        self._count(x)
        with torch.no_grad():
            return self._model.predict(x)

    def scores(self, x: Tensor) -> Tensor:
        """Return logits (B, K) of inputs (B, *S), without gradients."""
        self._require("scores")
        self._count(x)
        with torch.no_grad():
            return self._model(x)

    def differentiable(self, x: Tensor) -> Tensor:
        """Return logits (B, K) that can be differentiated in the inputs; counts as a query and a gradient."""
        self._require("gradients")
        self._count(x)
        self.gradients += len(x)
        return self._model(x)

    def _require(self, access: Access) -> None:
        if not includes_access(self.access, access):
            raise SettingError(f"{access} were asked of a view of {self.access}; expected an attack on those")

    def _count(self, x: Tensor) -> None:
        self.queries += len(x)
        if self.max_queries is not None and self.queries > self.max_queries:
            raise SettingError(
                f"an attack made {self.queries} queries; expected at most {self.max_queries}: it must keep "
                "to its budget"
            )
