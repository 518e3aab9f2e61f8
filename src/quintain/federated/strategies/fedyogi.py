"""FedYogi: Yogi at the server."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from quintain.federated.strategies.adaptive import AdaptiveStep


@dataclass(frozen=True, slots=True)
class FedYogi(AdaptiveStep):
    r"""FedYogi: FedAdam with a second moment that changes by at most the square of the average update.

    .. math:: v \leftarrow v - (1 - \beta_2)\, \Delta^2\, \mathrm{sign}(v - \Delta^2)

    Source: Reddi et al., 2021, arXiv:2003.00295.
    """

    name: ClassVar[str] = "fedyogi"
    summary: ClassVar[str] = "as FedAdam; step sizes grow more slowly after large averages"

    def second_moment(self, before: Tensor, square: Tensor) -> Tensor:
        """Return the second moment after a step toward the square, of ``1 - beta2`` times the square."""
        return before - (1 - self.beta2) * square * (before - square).sign()
