"""Federated averaging."""

from dataclasses import dataclass
from typing import ClassVar

from quintain.federated.strategies.strategy import Strategy


@dataclass(frozen=True, slots=True)
class FedAvg(Strategy):
    """Federated averaging: the model moves by the average of the updates.

    Source: McMahan et al., 2017, arXiv:1602.05629.
    """

    name: ClassVar[str] = "fedavg"
    summary: ClassVar[str] = "the model moves by the average of the updates"
    default_rank: ClassVar[int] = 1
