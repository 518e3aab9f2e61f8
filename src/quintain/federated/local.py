"""A site's part of a round: train a copy of the model, and encode the change."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from quintain.core.errors import ModelError
from quintain.data.dataset import Dataset
from quintain.federated.secagg.encoding import EncodedVector, Encoding
from quintain.federated.strategies.strategy import LocalTraining, State, Strategy
from quintain.models.copies import copy_net
from quintain.training import Objective, Recipe


@dataclass(frozen=True, slots=True)
class Update:
    """A site's update, which it sends in masked form only, and what stays at the site.

    Args:
        encoded: (encoding.num_words,) its encoded update.
        loss: Its last local loss; it does not leave the site. NaN after private training, which keeps none.
        num_clipped: Entries that the clip cut; neither does this.
        largest: The largest magnitude of an entry before the clip; neither does this.
        home: What the strategy keeps at the site after it; neither does this.
    """

    encoded: EncodedVector = field(repr=False)
    loss: float
    num_clipped: int
    largest: float
    home: State = field(default_factory=dict, repr=False)


def local_update(
    net: nn.Module,
    data: Dataset,
    recipe: Recipe,
    objective: Objective,
    encoding: Encoding,
    relative_weight: float,
    *,
    seed: int,
    encode: Callable[[NDArray[np.float64], Encoding, float], EncodedVector],
    strategy: Strategy,
    home: State,
    own_trainable: frozenset[str],
    private_fit: Callable[[nn.Module], None] | None = None,
) -> Update:
    """Train a copy of the model and encode the change.

    Args:
        net: The common model of the round; it is not touched.
        data: The site's own.
        recipe: How to train.
        objective: The local loss.
        encoding: Clip and grid.
        relative_weight: The site's public weight over the largest one, in (0, 1]: its clipped update is
            multiplied by it.
        seed: Of the training.
        encode: What makes words of the change, as ``Aggregation.encode``.
        strategy: How sites train together.
        home: What it keeps at this site.
        own_trainable: Names of the parameters that the site's own net trains.
        private_fit: Private training in place, instead of the recipe's.

    Raises:
        ModelError: If training changes a buffer or ends in NaN.
    """
    local = copy_net(net)
    training = LocalTraining(data, recipe, objective, seed, trainable=own_trainable, private_fit=private_fit)
    kept, loss = strategy.train(local, home, training)
    check_buffers(net, local)
    change = _change(net, local, recipe)
    largest = max(float(change.max()), -float(change.min()))
    return Update(
        encoded=encode(change, encoding, relative_weight),
        loss=loss,
        num_clipped=encoding.count_clipped(change) if largest > encoding.clip_value else 0,
        largest=largest,
        home=kept,
    )


def trainable(net: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """List the parameters that are averaged."""
    return [(name, parameter) for name, parameter in net.named_parameters() if parameter.requires_grad]


def check_trainable(net: nn.Module) -> None:
    """Refuse a net of which no updates can be averaged.

    Raises:
        ModelError: If nothing in it can be trained, or a trainable parameter has fewer bits than a sum is
            read in.
    """
    if not trainable(net):
        raise ModelError(
            f"{type(net).__name__} has no trainable parameters; expected some: set requires_grad on those to "
            "train"
        )
    for name, parameter in trainable(net):
        if parameter.dtype not in (torch.float32, torch.float64):
            raise ModelError(
                f"{name!r} is {parameter.dtype}; expected float32 to train and average in: call float() on "
                "the net first"
            )


def check_buffers(net: nn.Module, local: nn.Module) -> None:
    """Refuse training that has changed a buffer.

    Args:
        net: Before it.
        local: After it.

    Raises:
        ModelError: If it has.
    """
    for (name, before), after in zip(net.named_buffers(), local.buffers(), strict=True):
        if not torch.equal(before, after):
            raise ModelError(
                f"training changes the buffer {name!r}; expected trainable parameters alone, since running "
                "statistics do not average: replace BatchNorm by GroupNorm, or leave it at the sites "
                "(strategy fedbn)"
            )


def _change(net: nn.Module, local: nn.Module, recipe: Recipe) -> NDArray[np.float64]:
    """Return the change by training, flat (length,)."""
    pairs = list(zip(trainable(net), trainable(local), strict=True))
    change, start = np.empty(sum(before.numel() for (_, before), _ in pairs)), 0
    for (name, before), (_, after) in pairs:
        part = change[start : start + before.numel()]
        start += before.numel()
        # Differences in float64, so that the encoding is the only rounding.
        np.subtract(_flat(after), _flat(before), out=part, dtype=np.float64)
        if not np.isfinite(part).all():
            raise ModelError(
                f"after training, {name!r} is not finite; lower the rate of the local recipe "
                f"({recipe.learning_rate:g})"
            )
    return change


def _flat(parameter: nn.Parameter) -> NDArray[np.floating]:
    flat: NDArray[np.floating] = parameter.detach().cpu().flatten().numpy()
    return flat
