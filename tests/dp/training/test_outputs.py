"""Private training is the same whatever form a net's output has, and its probes look into each."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from quintain.dp import PrivatePlan, fit
from quintain.dp.training.features import Features

FINE = "no dependence found between examples"
PLAN = PrivatePlan(1.0, 1.0, 20, 3, learning_rate=0.5)


class Net(nn.Module):
    """A small net whose logits are packed, and whose input is prepared."""

    def __init__(
        self, pack: Callable[[Tensor], Any], prepare: Callable[[Tensor], Tensor], classes: int
    ) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 5), nn.Linear(5, classes)
        self.pack, self.prepare = pack, prepare

    def forward(self, x: Tensor) -> Any:
        return self.pack(self.last(torch.relu(self.first(self.prepare(x)))))


@pytest.fixture
def records() -> Features:
    generator = torch.Generator().manual_seed(0)
    return Features(torch.rand(60, 6, generator=generator), torch.arange(60) % 2)


def trained(
    records: Features,
    pack: Callable[[Tensor], Any],
    prepare: Callable[[Tensor], Tensor] = lambda x: x - 0.5,
    classes: int = 2,
) -> Net:
    """A net after private training by the seed, in which nothing was found to mix."""
    torch.manual_seed(0)
    net, before = Net(pack, prepare, classes), records.x.clone()
    probed = fit(net, records, PLAN, seed=0).report.runs[-1].mixing_probe
    assert probed.model == probed.rows == probed.values == probed.loss == FINE
    assert not probed.remarks
    assert torch.equal(records.x, before)
    return net


@dataclass
class Output:
    """As Hugging Face's outputs are."""

    logits: Tensor
    hidden: Tensor | None = None


FORMS = {
    "dataclass": Output,
    "tuple": lambda z: (z, z + 1),
    "dict": lambda z: {"loss": None, "logits": z},
    "object": lambda z: SimpleNamespace(logits=z),
}


@pytest.mark.parametrize("pack", FORMS.values(), ids=FORMS)
def test_a_packed_output_trains_as_the_logits_in_it(records: Features, pack: Callable[[Tensor], Any]) -> None:
    net, plain = trained(records, pack), trained(records, lambda z: z)
    for name, value in plain.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name


def test_an_input_that_is_written_into_trains_as_one_that_is_not(records: Features) -> None:
    net, plain = trained(records, lambda z: z, lambda x: x.sub_(0.5)), trained(records, lambda z: z)
    for name, value in plain.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name


def test_one_logit_trains_in_both_shapes(records: Features) -> None:
    column, flat = (
        trained(records, lambda z: z, classes=1),
        trained(records, lambda z: z.squeeze(1), classes=1),
    )
    for name, value in column.state_dict().items():
        torch.testing.assert_close(flat.state_dict()[name], value)
