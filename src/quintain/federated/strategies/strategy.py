"""What a strategy of federated training is: its half at the server, and its half at each site.

A strategy is a part of the plan, so that server and clients have the same. Its server's half is a pure
function of the average and of what it remembers, so that a checkpoint holds all of it, and a client can take
the same step with the published average and compare (``model_chain``). Its site's half trains a copy of the
common model, and may keep tensors that never leave the site.
"""

import math
from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from quintain.data.dataset import Dataset
from quintain.training import Objective, Recipe, fit

State = Mapping[str, Tensor]
"""What a strategy remembers, at the server or at a site, by name; empty at first."""


@dataclass(frozen=True, slots=True)
class LocalTraining:
    """A site's training in one round.

    Args:
        data: The site's own.
        recipe: How to train.
        objective: The local loss.
        seed: Of the training.
        trainable: Names of the parameters that the site's own net trains.
        private_fit: Private training in place, instead of the recipe's.
    """

    data: Dataset = field(repr=False)
    recipe: Recipe
    objective: Objective
    seed: int
    trainable: frozenset[str]
    private_fit: Callable[[nn.Module], None] | None = None

    def fit(self, net: nn.Module, objective: Objective | None = None) -> float:
        """Train a net in place, on another loss if one is given, and return the last epoch's loss.

        The loss is NaN after private training, which keeps none.
        """
        if self.private_fit is not None:
            self.private_fit(net)
            return math.nan
        loss = self.objective if objective is None else objective
        return fit(net, self.data, self.recipe, objective=loss, seed=self.seed).losses[-1]


class Strategy(ABC):
    """How sites train together; registered under its name. This class alone is federated averaging.

    Attributes:
        name, summary: As registered.
        is_stateful: Whether a step of the server depends on those before it.
        is_personal: Whether a part of the net stays at each site, so that every site has a model of its own.
        changes_loss: Whether sites train on another loss than that of the plan.
    """

    kind: ClassVar[str] = "strategy"
    name: ClassVar[str]
    summary: ClassVar[str]
    is_stateful: ClassVar[bool] = False
    is_personal: ClassVar[bool] = False
    changes_loss: ClassVar[bool] = False

    def check_recipe(self, recipe: Recipe) -> None:  # noqa: B027
        """Refuse a local recipe that the strategy cannot be run with.

        Raises:
            SettingError: If it cannot.
        """

    def common_model(self, net: nn.Module) -> nn.Module:
        """Return what server and clients exchange: its trainable parameters are averaged, the rest is fixed.

        Args:
            net: Shares its tensors with the result, so that a step of one is a step of the other.
        """
        return net

    def train(self, local: nn.Module, home: State, training: LocalTraining) -> tuple[State, float]:
        """Train at a site, and return what stays there and the last loss.

        Args:
            local: A copy of the common model, trained in place; what its trainable parameters change by is
                the site's update.
            home: What stayed at the site last time.
            training: Data, recipe, loss and seed.
        """
        return home, training.fit(local)

    def step(
        self,
        mean: Tensor,
        state: State,
        weight_fraction: float,  # noqa: ARG002
    ) -> tuple[Tensor, State]:
        """Return the change of the common model (length,) in float64, and what to remember.

        Args:
            mean: (length,) the weighted average of the clients' updates, in float64.
            state: What the last step returned.
            weight_fraction: The public weight of the sites in the average over that of all sites.
        """
        return mean, state

    def memory_after(self, change: Tensor) -> State | None:  # noqa: ARG002
        """Return what the server remembers after a step that changed the model by so much (length,).

        A client that missed rounds checks the model again from then on. None where it does not follow from
        one step.
        """
        return None if self.is_stateful else {}

    def largest_step(self, clip_value: float) -> float:
        """Return the largest change of a weight in one step, if no entry of the average exceeds the clip."""
        return clip_value

    def personal_model(self, net: nn.Module, home: State) -> nn.Module:  # noqa: ARG002
        """Return the model of one site: the common one, with what stays there."""
        return net
