"""SCAFFOLD: control variates take out of each site's steps what its data alone would do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from quintain.core.errors import SettingError
from quintain.federated.strategies.strategy import LocalTraining, State, Strategy
from quintain.training import Objective, Recipe
from quintain.training.objective import StepContext


class WithControl(nn.Module):
    """A net, and beside each trainable parameter the common control variate, which is averaged with it.

    Args:
        net: The net itself, not a copy.

    Attributes:
        control: In units of the learning rate times the gradient: what one step moves a weight by.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.control = nn.ParameterList(nn.Parameter(torch.zeros_like(one)) for one in _trainable(net))

    def forward(self, x: Tensor) -> Tensor:
        """Return what the net returns."""
        logits: Tensor = self.net(x)
        return logits


@dataclass(frozen=True, slots=True)
class Scaffold(Strategy):
    r"""SCAFFOLD: steps on the site's gradient, less its own control variate, plus the common one.

    .. math:: y \leftarrow y - \lambda (\nabla \ell_i(y) - c_i + c), \quad
        c_i^+ = c_i - c + \frac{x - y}{\sum_k \lambda_k}

    (option II). The change of :math:`c_i` is sent beside that of the weights, so that the vector of the
    secure sum is twice as long; c moves by its average times the weight fraction of the sites in it, and so
    stays the average of all :math:`c_i`, but for what the clip cuts of an entry. With equal sites it is
    federated averaging.

    Source: Karimireddy et al., 2020, arXiv:1910.06378.
    """

    name: ClassVar[str] = "scaffold"
    summary: ClassVar[str] = "control variates against the drift of sites whose data differ; twice the upload"
    changes_loss: ClassVar[bool] = True

    def check_recipe(self, recipe: Recipe) -> None:
        """Refuse all but plain SGD, whose steps add up to the average gradient.

        Raises:
            SettingError: If it is another optimizer.
        """
        if recipe.optimizer != "sgd" or recipe.momentum or recipe.weight_decay:
            raise SettingError(
                f"SCAFFOLD with local steps of {recipe.optimizer}, momentum {recipe.momentum:g}, weight "
                f"decay {recipe.weight_decay:g}; expected optimizer='sgd' without either, from whose steps "
                "the average gradient is read"
            )

    def common_model(self, net: nn.Module) -> nn.Module:
        """Return the net with the common control variate."""
        return WithControl(net)

    def train(self, local: nn.Module, home: State, training: LocalTraining) -> tuple[State, float]:
        """Train on corrected gradients, and make the next control variate of the site from the steps."""
        assert isinstance(local, WithControl)
        rate, recipe = training.recipe.learning_rate, training.recipe
        common = [one.detach() / rate for one in local.control]
        own = [home.get(str(place), torch.zeros_like(one)) for place, one in enumerate(common)]
        before = [one.detach().clone() for one in _trainable(local.net)]
        corrections = [c - c_i for c, c_i in zip(common, own, strict=True)]
        loss = training.fit(local.net, _CorrectedLoss(training.objective, corrections))
        # All steps together moved by the sum of their rates times the average corrected gradient.
        steps = recipe.epochs * -(-len(training.data) // recipe.batch_size)
        moved_by = sum(recipe.learning_rate_at(step / steps) for step in range(steps))
        following = [
            (x - y.detach()) / moved_by - correction
            for x, y, correction in zip(before, _trainable(local.net), corrections, strict=True)
        ]
        with torch.no_grad():
            for sent, new, old in zip(local.control, following, own, strict=True):
                sent += rate * (new - old)
        return {str(place): one for place, one in enumerate(following)}, loss

    def step(self, mean: Tensor, state: State, weight_fraction: float) -> tuple[Tensor, State]:
        """Move the weights by the average, and the control variate by its part of all sites."""
        change = mean.clone()
        change[len(mean) // 2 :] *= weight_fraction
        return change, state


@dataclass(frozen=True, slots=True)
class _CorrectedLoss:
    """A loss with a linear term, whose gradient is the correction."""

    objective: Objective
    corrections: Sequence[Tensor]

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, context: StepContext) -> Tensor:
        terms = zip(_trainable(net), self.corrections, strict=True)
        linear = torch.stack([(value * correction).sum() for value, correction in terms]).sum()
        return self.objective(net, x, y, context) + linear


def _trainable(net: nn.Module) -> list[nn.Parameter]:
    return [one for one in net.parameters() if one.requires_grad]
