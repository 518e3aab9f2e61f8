"""Inconsistent recipes: the server lets all sites but one stand still, and the sum is that one's update."""

from collections.abc import Iterable
from dataclasses import replace

from quintain.core.registry import declare
from quintain.training import Recipe

ZERO_LEARNING_RATE = 1e-9
"""A learning rate at which an update rounds to nothing on the grid of the sum."""


@declare(
    name="inconsistent-recipes",
    summary="one site's update as the sum, since all others get a learning rate of 1e-9 (a malicious server)",
    guarantee="a witness: the sum is the target's update, up to what the others move by",
    kind="leak",
    goal="updates",
    access="sum",
)
def isolating_recipes(recipe: Recipe, sites: Iterable[str], target: str) -> dict[str, Recipe]:
    """Return what the server tells each site, so that the sum is the target's update.

    Args:
        recipe: That of the training.
        sites: All sites.
        target: The one whose update the server wants.
    """
    still = replace(recipe, learning_rate=ZERO_LEARNING_RATE)
    return {site: recipe if site == target else still for site in sites}
