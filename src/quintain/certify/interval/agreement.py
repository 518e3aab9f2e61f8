"""Checks that a model does what was traced of its forward: the same operations, and the same logits."""

from collections.abc import Callable
from itertools import zip_longest

import torch
from torch import Tensor

from quintain.certify.attributes import AttributeSnapshot
from quintain.certify.interval.graph import TracedNetwork
from quintain.certify.interval.observer import operations_of
from quintain.certify.interval.valueless import operations_without_values
from quintain.core.errors import ModelError
from quintain.models.adapters import find_logits
from quintain.models.classifier import Classifier

SAME_LOGITS_TOLERANCE = 1e-4
"""How much two runs of the same operations may differ, relative to the largest logit (or 1)."""

LOOK = "Look for branches on what an input is, such as isinstance(x, torch.Tensor) or x.requires_grad"


def require_same_operations(
    model: Classifier, traced: TracedNetwork, z: Tensor, check: Callable[[], None]
) -> tuple[Tensor, Tensor]:
    """Run the model and the traced operations on ``z`` (P, *S), and return the logits of both.

    Raises:
        ModelError: Unless these are the same operations.
    """
    (run, done), (read, found) = (
        operations_of(lambda: model(z), check),
        operations_of(lambda: traced.replay(z)),
    )
    _require_equal(model.name, done, found)
    return run.detach(), read.detach()


def require_same_logits(name: str, run: Tensor, read: Tensor) -> None:
    """Refuse logits that differ by more than those of two runs of one net do.

    Raises:
        ModelError: With the largest difference.
    """
    if not torch.allclose(
        run,
        read,
        rtol=SAME_LOGITS_TOLERANCE,
        atol=SAME_LOGITS_TOLERANCE * max(1.0, float(run.abs().max())),
        equal_nan=True,
    ):
        raise ModelError(
            f"{name} does something else than was read of its forward: logits differ by up to "
            f"{float((run - read).abs().max()):g}. {LOOK}"
        )


def require_no_value_read(
    model: Classifier, traced: TracedNetwork, z: Tensor, check: Callable[[], None]
) -> None:
    """Refuse a model that looks at a value, in whatever thread, or does other things for gradients.

    Raises:
        ModelError: If it runs other operations, or gives other logits, for ``z`` (P, *S) with gradients; or
            if it runs others, or fails, for inputs of that shape without values, with gradients or without.
    """
    for gradients in (False, True):
        attributes = AttributeSnapshot(model.net)
        try:
            with torch.set_grad_enabled(gradients):
                done = operations_without_values(
                    lambda blank: find_logits(model.net(blank.clone())), z, check, model.name
                )
                _require_equal(model.name, done, operations_without_values(traced.run, z, check, model.name))
        finally:
            attributes.restore()  # what the forward keeps has no values
    with torch.enable_grad():
        require_same_logits(
            model.name, *require_same_operations(model, traced, z.detach().requires_grad_(), check)
        )


def _require_equal(name: str, done: list[str], found: list[str]) -> None:
    if done != found:
        runs, reads = next(
            pair for pair in zip_longest(done, found, fillvalue="nothing") if pair[0] != pair[1]
        )
        raise ModelError(
            f"{name} does something else than was read of its forward: where {reads} was read, it runs "
            f"{runs}. {LOOK}"
        )
