r"""Imprint layer: a malicious server reads training examples out of the sum of many sites' updates.

Every unit of a first linear layer measures the same thing, such as brightness, against another threshold.
The gradients of two neighboring units then differ by the examples between their thresholds alone, and where
that is one example it is read exactly: no sum over sites hides it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from quintain.core.errors import ModelError, SettingError
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.leakage.attack import Candidates, Goal, Guess
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.update_view import require_updates
from quintain.leakage.updates.gradient_parts import as_gradient_list, layer_gradient, linear_layers
from quintain.leakage.view import AttackerView

MAX_WEIGHTS = 2**23
"""Most weights of a layer that is put in front of a net, so that large pictures get fewer units."""


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
    layer = nn.utils.skip_init(nn.Linear, num_features, len(thresholds))  # draws no random numbers
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
        (n, *shape) candidates in [0, 1], one for each pair of neighboring units between which examples lie,
        in the dtype of the changes.

    Source: Fowl, Geiping, Czaja, Goldblum, Goldstein, 2022, arXiv:2110.13057.
    """
    # The last unit has only what is above its threshold: a zero row closes the list.
    weights = torch.cat([weight_change.double(), weight_change.new_zeros(1, weight_change.shape[1]).double()])
    biases = torch.cat([bias_change.double(), bias_change.new_zeros(1).double()])
    by_pair, of_pair = weights[:-1] - weights[1:], biases[:-1] - biases[1:]
    found = of_pair.abs() > tolerance * of_pair.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
    images = by_pair[found] / of_pair[found, None]
    return images.clamp(0, 1).reshape(-1, *shape).to(weight_change.dtype)


def imprint_in_front(net: nn.Module, thresholds: Tensor, shape: Sequence[int], *, seed: int) -> nn.Sequential:
    """Return a net with an imprinted layer in front of ``net``, which gets an image of its units' sum.

    All units reach what follows by the same weights, so that they have the same gradient.

    Args:
        net: What follows.
        thresholds: (units,) rising.
        shape: Of an example.
        seed: Of the image that the units draw.
    """
    size = torch.Size(shape).numel()
    back = nn.utils.skip_init(nn.Linear, len(thresholds), size)
    generator = torch.Generator().manual_seed(derive_seed(seed, "imprint"))
    with torch.no_grad():
        # Half of gray and a small random image, as bright as the sum of the units.
        image = 0.1 * torch.randn(size, 1, generator=generator) / len(thresholds)
        back.weight.copy_(image.expand_as(back.weight))
        back.bias.fill_(0.5)
    first = next(net.parameters())
    layers = (nn.Flatten(), imprinted_layer(thresholds, size), nn.ReLU(), back, nn.Unflatten(1, tuple(shape)))
    return nn.Sequential(*(layer.to(first) for layer in layers), net).eval()


@dataclass(frozen=True, slots=True)
class ImprintLayer:
    """The pictures in a sum over sites, read from a layer that a malicious server sends.

    It first sends the net with an imprinted layer in front; where sites refuse a foreign layer, and rounds
    are left, the numbers of the net's own first two layers are replaced.

    Args:
        units: Of the layer in front; fewer for large pictures.

    Guarantee: a witness. Of n pictures, n (1 - 1/units)^(n - 1) lie alone between thresholds on average,
    where thresholds are quantiles; those are exact up to rounding if sites take one step.

    Source: Fowl, Geiping, Czaja, Goldblum and Goldstein, 2022, arXiv:2110.13057.
    """

    kind: ClassVar[str] = "leak"
    name: ClassVar[str] = "imprint-layer"
    summary: ClassVar[str] = "pictures out of a sum of updates, by a layer that a malicious server sends"
    guarantee: ClassVar[str] = (
        "a witness: what it finds has leaked; what it does not find may leak all the same"
    )
    goal: ClassVar[Goal] = "pictures"
    access: ClassVar[str] = "sum"
    needs: ClassVar[tuple[str, ...]] = ("public",)
    default_rank: ClassVar[int] = 3
    is_iterative: ClassVar[bool] = False
    chooses_net: ClassVar[bool] = True

    units: int = 1024

    def guess(
        self,
        view: AttackerView,
        knowledge: Knowledge,
        candidates: Candidates,
        *,
        budget: int,
        seed: int,
        progress: Progress = no_progress,  # noqa: ARG002
    ) -> Guess:
        """Return the pictures; see ``LeakageAttack``."""
        if budget < 1 or self.units < 2:
            raise SettingError(
                f"budget = {budget} rounds, units = {self.units}; expected at least 1 round and 2 units"
            )
        knowledge.require(self.needs, attack=self.name)
        seen = require_updates(view, attack=self.name)
        assert knowledge.public is not None
        public, _ = knowledge.public.sample(1024, seed=0).batch(range(min(1024, len(knowledge.public))))
        brightness = public.flatten(1).double().mean(1)
        for sent in self._nets(seen.net, brightness, candidates.shape, seed):
            if seen.queries >= budget:
                break
            update = seen.update(sent)
            if update is not None and update.any():
                layer = linear_layers(sent)[0]
                parts = as_gradient_list(sent.double(), update.double())
                weight, bias = layer_gradient(sent, parts, layer)
                assert bias is not None
                images = read_imprint(weight, bias, candidates.shape)
                return Guess(images=images.float().cpu(), queries=seen.queries)
        return Guess(images=torch.zeros(0, *candidates.shape), queries=seen.queries)

    def _nets(
        self, net: nn.Module, brightness: Tensor, shape: Sequence[int], seed: int
    ) -> Iterator[nn.Module]:
        """Yield what the server sends, one net after the other as they are refused."""
        features = torch.Size(shape).numel()
        units = max(2, min(self.units, MAX_WEIGHTS // features))
        yield imprint_in_front(net, _quantiles(brightness, units), shape, seed=seed)
        linears = linear_layers(net)
        if len(linears) > 1 and linears[0].bias is not None and linears[0].in_features == features:
            plant_imprint(net, _quantiles(brightness, linears[0].out_features))
            yield net


def _quantiles(brightness: Tensor, units: int) -> Tensor:
    """Return thresholds (units,) between which public pictures are spread evenly, and which rise."""
    levels = torch.linspace(0, 1, units + 2, dtype=torch.float64)[1:-1]
    found = brightness.quantile(levels).float()
    # Equal ones, of fewer pictures than units or of pictures of one color, are moved up by one step each.
    for place in range(1, units):
        if found[place] <= found[place - 1]:
            found[place] = torch.nextafter(found[place - 1], torch.tensor(torch.inf))
    return found
