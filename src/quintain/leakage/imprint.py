r"""Imprint layer: a malicious server reads training examples out of the sum of many sites' updates.

Every unit of a first linear layer measures the same thing, such as brightness, against another threshold.
The gradients of two neighboring units then differ by the examples between their thresholds alone, and where
that is one example it is read exactly: no sum over sites hides it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from quintain.core.errors import ModelError, SettingError
from quintain.core.registry import declare


def imprinted_layer(thresholds: Tensor, num_features: int) -> nn.Linear:
    """Return the layer: each unit is the mean of the features less its threshold; ReLU must follow.

    Args:
        thresholds: (units,) rising, such as quantiles of the brightness of public pictures.
        num_features: Of an example.

    Raises:
        SettingError: If thresholds do not rise.
    """
    if len(thresholds) < 2 or not bool((thresholds.diff() > 0).all()):
        raise SettingError(
            f"thresholds {tuple(thresholds.shape)} that do not rise; expected at least two that do"
        )
    layer = nn.Linear(num_features, len(thresholds))
    with torch.no_grad():
        layer.weight.fill_(1 / num_features)
        layer.bias.copy_(-thresholds)
    return layer


@torch.no_grad()
def plant_imprint(net: nn.Module, thresholds: Tensor) -> None:
    """Turn a net that begins with two linear layers and a ReLU between them into one that imprints, in place.

    Numbers alone change, so that a client which pins the layers, but not the first model, does not notice.

    Raises:
        ModelError: If the net has no two linear layers, or the first has another number of units.
    """
    linears = [module for module in net.modules() if isinstance(module, nn.Linear)]
    if len(linears) < 2 or linears[0].out_features != len(thresholds):
        raise ModelError(
            f"{len(linears)} linear layers for {len(thresholds)} thresholds; expected at least two, the "
            "first with a unit a threshold"
        )
    first, second = linears[0], linears[1]
    made = imprinted_layer(thresholds, first.in_features)
    first.weight.copy_(made.weight)
    assert first.bias is not None
    first.bias.copy_(made.bias)
    # Each unit gets the same gradient from what follows, so that neighbors differ by examples alone.
    second.weight.copy_(second.weight[:, :1].expand_as(second.weight))


@declare(
    name="imprint-layer",
    summary="examples out of a sum of updates, by a layer that the server planted",
    guarantee="a witness: what it finds has leaked; what it does not find may leak all the same",
    kind="leak",
    goal="pictures",
    access="sum",
)
def read_imprint(
    weight_change: Tensor, bias_change: Tensor, shape: Sequence[int], *, tolerance: float = 1e-9
) -> Tensor:
    r"""Read examples out of what a sum of updates has changed in an imprinted layer.

    .. math:: x = \frac{\Delta W_i - \Delta W_{i+1}}{\Delta b_i - \Delta b_{i+1}}

    exact where one example of all sites lies between two thresholds and each site took one step of SGD on all
    of its examples; a weighted mean of several where several do.

    Args:
        weight_change, bias_change: (units, features) and (units,) of the sum, in whatever scale.
        shape: Of an example.
        tolerance: Differences of biases below it, relative to the largest, are no example.

    Returns:
        (n, *shape) candidates in [0, 1], one for each pair of neighboring units between which examples lie.

    Source: Fowl, Geiping, Czaja, Goldblum, Goldstein, 2022, arXiv:2110.13057.
    """
    # The last unit has only what is above its threshold: a zero row closes the list.
    weights = torch.cat([weight_change.double(), weight_change.new_zeros(1, weight_change.shape[1]).double()])
    biases = torch.cat([bias_change.double(), bias_change.new_zeros(1).double()])
    by_pair, of_pair = weights[:-1] - weights[1:], biases[:-1] - biases[1:]
    found = of_pair.abs() > tolerance * of_pair.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
    images = by_pair[found] / of_pair[found, None]
    return images.clamp(0, 1).reshape(-1, *shape).float()
