"""The criterion that ``make_private`` returns in mode "ghost", checked against ``loss_reduction``."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.opacus.refused import missing_name_getattr

__all__ = ["DPLossFastGradientClipping"]
__getattr__ = missing_name_getattr(__name__)


class CheckedCriterion:
    """A thin wrapper of the user's criterion, which checks its reduction; the plain one works too.

    Args:
        criterion: Returns one number for a batch.
        loss_reduction: How it reduces the losses of the examples.

    Raises:
        SettingError: If the criterion reduces in the other way.
        PrivacyError: If its mean is weighted by class, which makes each example's weight depend on the
            others.
    """

    def __init__(self, criterion: Callable[..., Tensor], loss_reduction: Literal["mean", "sum"]) -> None:
        own_reduction = getattr(criterion, "reduction", loss_reduction)
        if own_reduction != loss_reduction:
            raise SettingError(
                f"got a criterion with reduction = {own_reduction!r} and loss_reduction = "
                f"{loss_reduction!r}; expected them equal: otherwise one record can move the sum by more "
                "than the bound"
            )
        refuse_class_weights(criterion)
        self.criterion, self.reduction = criterion, loss_reduction

    def __call__(self, *args: Any, shape: tuple[int, int] | None = None, **kwargs: Any) -> Tensor:
        """Compute the loss.

        Args:
            shape: (B, T) for losses of T tokens an example, in rows: an example's loss is then the mean of
                its own.
        """
        if shape is None:
            return self.criterion(*args, **kwargs)
        if not hasattr(self.criterion, "reduction"):
            raise SettingError(
                "got a shape for a criterion without reduction; expected one of torch.nn, such as "
                "CrossEntropyLoss()"
            )
        try:
            self.criterion.reduction = "none"
            each = self.criterion(*args, **kwargs).view(shape).mean(1)
        finally:
            self.criterion.reduction = self.reduction
        return each.mean() if self.reduction == "mean" else each.sum()


class DPLossFastGradientClipping(CheckedCriterion):
    """``CheckedCriterion`` with Opacus' arguments, of which it does not need the module and the optimizer."""

    def __init__(
        self,
        module: nn.Module,  # noqa: ARG002
        optimizer: torch.optim.Optimizer,  # noqa: ARG002
        criterion: Callable[..., Tensor],
        loss_reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__(criterion, loss_reduction)


def refuse_class_weights(criterion: Any) -> None:
    """Raise if a mean is weighted by class."""
    weighted = isinstance(criterion, (nn.CrossEntropyLoss, nn.NLLLoss)) and criterion.weight is not None
    if weighted and criterion.reduction == "mean":
        raise PrivacyError(
            f"got {type(criterion).__name__} with class weights, whose mean divides by the weights of the "
            "whole batch: one record then "
            'changes the scale of all others; expected reduction="none" and a plain mean, or "sum"'
        )
