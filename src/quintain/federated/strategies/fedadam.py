"""FedAdam: Adam at the server."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from quintain.federated.strategies.adaptive import AdaptiveStep


@dataclass(frozen=True, slots=True)
class FedAdam(AdaptiveStep):
    r"""FedAdam: the server takes a step of Adam with the average (``AdaptiveStep``).

    .. math:: v \leftarrow \beta_2 v + (1 - \beta_2) \Delta^2

    Source: Reddi et al., 2021, arXiv:2003.00295.
    """

    name: ClassVar[str] = "fedadam"
    summary: ClassVar[str] = "the server takes a step of Adam with the average"

    def second_moment(self, before: Tensor, square: Tensor) -> Tensor:
        """Return the moving average of the squares."""
        return self.beta2 * before + (1 - self.beta2) * square
