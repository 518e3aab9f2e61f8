"""What FedBN and personal heads share: a part of the net stays at each site and is never averaged."""

import copy
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import ClassVar

import torch
from torch import Tensor, nn

from quintain.federated.strategies.strategy import LocalTraining, State, Strategy


class PersonalPart(Strategy):
    """A strategy in which some parameters and buffers stay at home.

    What travels is the whole net, in which these have their first values for ever; each site puts its own in
    their place to train and takes them out again. The others are averaged as in federated averaging.
    """

    __slots__ = ()

    is_personal: ClassVar[bool] = True

    @abstractmethod
    def home_names(self, net: nn.Module) -> Set[str]:
        """Return the names of the parameters and buffers of a net that stay at home."""

    def common_model(self, net: nn.Module) -> nn.Module:
        """Return a second net over the tensors of the shared part, in which the personal part is fixed."""
        common, home = copy.deepcopy(net), self.home_names(net)
        theirs = dict(_tensors(net))
        for name, value in _tensors(common):
            if name in home:
                value.requires_grad_(False)
            else:
                value.data = theirs[name].data
        return common

    def train(self, local: nn.Module, home: State, training: LocalTraining) -> tuple[State, float]:
        """Train the whole net, the site's own part in its place."""
        names = self.home_names(local)
        parts = {name: value for name, value in _tensors(local) if name in names}
        first = {name: value.detach().clone() for name, value in parts.items()}
        _put(parts, home)
        for name in names & training.trainable:
            parts[name].requires_grad_()
        loss = training.fit(local)
        kept = {name: value.detach().clone() for name, value in parts.items()}
        for name in names & training.trainable:
            parts[name].requires_grad_(False)
        _put(parts, first)
        return kept, loss

    def personal_model(self, net: nn.Module, home: State) -> nn.Module:
        """Return a copy of a net with a site's own part."""
        personal = copy.deepcopy(net)
        _put(dict(_tensors(personal)), home)
        return personal


def put_average(net: nn.Module, homes: Sequence[State]) -> None:
    """Put the average of what stays at several sites into a net, in place; whole numbers are rounded down.

    Only a simulation can, since it holds all sites.
    """
    average = {
        name: torch.stack([one[name].double() for one in homes]).mean(0)
        for name in (homes[0] if homes else ())
    }
    _put(dict(_tensors(net)), average)


def _tensors(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from net.named_parameters()
    yield from net.named_buffers()


@torch.no_grad()
def _put(parts: Mapping[str, Tensor], values: State) -> None:
    """Copy values into tensors of the same names, in place."""
    for name, value in values.items():
        parts[name].copy_(value)
