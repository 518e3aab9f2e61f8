"""Inconsistent models: the server sends all sites but one a net without gradients: the sum is that one's."""

import copy
from collections.abc import Iterable

import torch
from torch import nn

from quintain.core.errors import ModelError
from quintain.core.registry import declare

DEAD = -1e6
"""A bias below which no input reaches a ReLU."""


@declare(
    name="inconsistent-models",
    summary="one site's update as the sum, since all others get a net with dead units (a malicious server)",
    guarantee="a witness: but for the output layer the sum is the target's update",
    kind="leak",
    goal="updates",
    access="sum",
)
def isolating_models(net: nn.Module, sites: Iterable[str], target: str) -> dict[str, nn.Module]:
    """Return the model that the server sends to each site, so that all but the target's gradients vanish.

    Args:
        net: The true model; not changed.
        sites: All sites.
        target: The one whose update the server wants.

    Raises:
        ModelError: If the net has no ReLU behind a layer with a bias, whose units can be dead.

    Source: Pasquini, Francati, Ateniese, 2022, arXiv:2111.07380.
    """
    dead = copy.deepcopy(net)
    silence(dead)
    return {site: net if site == target else dead for site in sites}


@torch.no_grad()
def silence(net: nn.Module) -> None:
    """Let all units before the last ReLU be dead, in place: only what follows it has a gradient.

    Raises:
        ModelError: If there is none behind a layer with a bias.
    """
    modules = [module for module in net.modules() if not list(module.children())]
    last = max((place for place, one in enumerate(modules) if isinstance(one, nn.ReLU)), default=0)
    biased = [one for one in modules[:last] if isinstance(getattr(one, "bias", None), nn.Parameter)]
    if not biased:
        raise ModelError(
            f"{type(net).__name__} has no ReLU behind a layer with a bias; expected one whose units can die"
        )
    bias = biased[-1].bias
    assert isinstance(bias, nn.Parameter)
    bias.fill_(DEAD)
