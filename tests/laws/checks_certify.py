"""What every certifier must keep; each check raises the alarm that it names."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from quintain.certify import largest_certified_radius
from quintain.core.errors import ContradictionError
from quintain.core.registry import get_entry
from quintain.models import Classifier
from quintain.threats import L2

DISTANCES = torch.tensor([0.02, 0.05, 0.1, 0.17, 0.25])
"""How far the examples of a half-space are from its boundary."""


def halfspace(copies: int = 1) -> tuple[Classifier, Tensor, Tensor, Tensor]:
    """A model whose answer flips at a known L2 distance, under noise as without; its examples, labels and
    exact radii (float64).
    """
    direction, offset = torch.tensor([0.6, -0.8]), 0.1
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 1)).eval()
    with torch.no_grad():
        net[1].weight.copy_(direction[None])
        net[1].bias.fill_(-offset)
    x = (torch.tensor([0.5, 0.25]) + DISTANCES.repeat_interleave(copies)[:, None] * direction).contiguous()
    weight = net[1].weight.detach().double()[0]
    exact = (x.double() @ weight + net[1].bias.detach().double()) / weight.norm()
    return Classifier(net), x, (exact > 0).long(), exact.abs()


def radii(name: str, model: Classifier, x: Tensor, y: Tensor, **settings: float) -> Tensor:
    """What a registered certifier proves in L2, through its public entry: of the model, or of the smoothed
    model that it makes.
    """
    entry = get_entry("certifier", name)
    if entry.is_true("derives_model"):
        method = entry.build(**{"sigma": 0.2, "noise_samples": 2000, **settings})
        outcome = method.derive(model).certify(x, y, seed=3)
    else:
        outcome = largest_certified_radius(entry.load()(), model, x, y, L2(0.1))
    assert outcome.radius is not None
    return outcome.radius


def require_at_most_exact(
    prove: Callable[[Classifier, Tensor, Tensor], Tensor], *, alpha: float = 0.0, copies: int = 1
) -> None:
    """A certified radius lies at or below the exact one: always, or, where it may be false with chance alpha,
    as rarely as that.

    Raises:
        ContradictionError: If it lies above more often than alpha allows (three standard deviations).
    """
    model, x, y, exact = halfspace(copies)
    false = int((prove(model, x, y) > exact).sum())
    allowed = alpha * len(x) + 3 * math.sqrt(alpha * (1 - alpha) * len(x))
    if false > allowed:
        raise ContradictionError(
            f"{false} of {len(x)} certified radii lie above the exact distance; at most {allowed:.1f} may"
        )
