"""What a defence by training is: a recipe, and the loss that it minimises."""

from typing import Protocol

from quintain.training.objective import Objective
from quintain.training.recipe import Recipe


class Plan(Protocol):
    """A frozen value of a defence's settings."""

    @property
    def recipe(self) -> Recipe:
        """Epochs, batch and optimiser."""

    def objective(self) -> Objective:
        """The loss of a step."""
