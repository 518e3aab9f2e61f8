"""One parameter in several layers: the norm is that of the sum, not the sum of the norms' squares."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quintain.dp.per_example import cost_model, numerics
from quintain.dp.per_example.grads import DenseGrads, OuterProductGrads, SummedGrads, TableRowGrads
from tests.dp.support.singles import check_singles, passes

IDS = torch.tensor([[0, 2, 2, 1], [4, 4, 4, 4], [2, 3, 2, 3], [1, 1, 0, 1], [3, 0, 4, 2]])


class Language(nn.Module):
    """Tokens to scores of tokens, through one table."""

    def __init__(self, *, bag: bool = False, twice: bool = False, freeze: bool = False) -> None:
        super().__init__()
        self.table, self.mid, self.head = nn.Embedding(5, 3), nn.Linear(3, 3), nn.Linear(3, 5)
        self.head.weight = self.table.weight
        self.bag, self.twice = nn.EmbeddingBag(5, 3) if bag else None, twice
        if self.bag:
            self.bag.weight = self.table.weight
        self.mid.requires_grad_(not freeze)
        self.head.bias.requires_grad_(not freeze)

    def forward(self, x: Tensor) -> Tensor:
        h = self.mid(self.table(x)).tanh()
        if self.twice:
            h = h + F.softmax(self.head(h), -1) @ self.table(torch.arange(5).expand(len(x), 5))
        if self.bag:
            h = h + self.bag(x)[:, None]
        return self.head(h)


class Linked(nn.Module):
    """Two layers of one weight."""

    def __init__(self, one: nn.Module, other: nn.Module) -> None:
        super().__init__()
        self.one, self.other = one, other
        self.other.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.one(x).tanh())


NETS = {
    "embedding and head": (Language, IDS),
    "embedding and head, each twice": (lambda: Language(twice=True), IDS),
    "embedding, bag and head": (lambda: Language(bag=True), IDS),
    "embedding and head, the rest frozen": (lambda: Language(freeze=True), IDS),
    "linear": (lambda: Linked(nn.Linear(4, 4), nn.Linear(4, 4)), torch.randn(5, 4)),
    "linear on sequences": (
        lambda: Linked(nn.Linear(4, 4), nn.Linear(4, 4, bias=False)),
        torch.randn(5, 3, 4),
    ),
    "convolutions of other strides": (
        lambda: Linked(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3, 2, 1)),
        torch.randn(5, 2, 7, 7),
    ),
    "a convolution and its transpose": (
        lambda: Linked(nn.Conv1d(4, 2, 3), nn.ConvTranspose1d(2, 4, 3)),
        torch.randn(5, 4, 7),
    ),
    "norms": (lambda: Linked(nn.GroupNorm(2, 4), nn.InstanceNorm1d(4, affine=True)), torch.randn(5, 4, 3)),
}


@pytest.mark.parametrize("ghost", [True, False])
@pytest.mark.parametrize("batch", [0, 1, 5])
@pytest.mark.parametrize("kind", NETS)
def test_tied_layers_have_the_norm_of_their_sum(
    kind: str, batch: int, ghost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost_model, "ghost_norm_is_cheaper", lambda *_: ghost)
    torch.manual_seed(3)
    make, x = NETS[kind]
    check_singles(make().double(), x[:batch].double() if x.is_floating_point() else x[:batch], mean=True)


@pytest.mark.parametrize("kept", [1, 20, numerics.MAX_WORKING_SET])
def test_an_embedding_tied_to_the_head_builds_no_table_an_example(
    kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numerics, "MAX_WORKING_SET", kept)
    net = Language().double()
    gradient = passes(net, IDS, torch.sum)[0].gradients[net.table.weight]
    assert isinstance(gradient, SummedGrads)
    expected = gradient.to_dense().square().sum((1, 2))
    monkeypatch.setattr(TableRowGrads, "to_dense", None)
    monkeypatch.setattr(OuterProductGrads, "to_dense", None)
    torch.testing.assert_close(gradient.squared_norms(), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("kind", ["embedding and head", "linear"])
def test_the_sum_of_squared_norms_would_be_too_small(kind: str) -> None:
    """Uses that pull the same way: the norm of two equal parts is twice theirs, the naive figure root two
    times.
    """
    generator = torch.Generator().manual_seed(0)
    a, g = (
        torch.rand(3, 2, 4, generator=generator).double(),
        torch.rand(3, 2, 5, generator=generator).double(),
    )
    head = OuterProductGrads(a, g)
    ids = torch.arange(5).expand(3, 5)
    other = (
        TableRowGrads.from_ids(ids, head.to_dense(), torch.Size((5, 4)))
        if kind == "embedding and head"
        else OuterProductGrads(a, g)
    )
    naive = head.squared_norms() + other.squared_norms()
    true = head.plus(other).squared_norms()
    torch.testing.assert_close(true, 2 * naive, rtol=1e-9, atol=0)


def test_sums_of_many_kinds_stay_right_in_any_order() -> None:
    generator = torch.Generator().manual_seed(1)
    parts = [
        OuterProductGrads(
            torch.randn(3, 2, 4, generator=generator).double(),
            torch.randn(3, 2, 5, generator=generator).double(),
        ),
        TableRowGrads.from_ids(
            IDS[:3], torch.randn(3, 4, 4, generator=generator).double(), torch.Size((5, 4))
        ),
        OuterProductGrads(
            torch.randn(3, 1, 4, generator=generator).double(),
            torch.randn(3, 1, 5, generator=generator).double(),
        ),
        TableRowGrads.from_ids(
            IDS[2:], torch.randn(3, 4, 4, generator=generator).double(), torch.Size((5, 4))
        ),
        DenseGrads(torch.randn(3, 5, 4, generator=generator).double()),
    ]
    whole = sum(part.to_dense() for part in parts)
    for order in (parts, parts[::-1], parts[2:] + parts[:2]):
        total = order[0]
        for part in order[1:]:
            total = total.plus(part)
        torch.testing.assert_close(total.squared_norms(), whole.square().sum((1, 2)), rtol=1e-9, atol=0)
        into = torch.zeros(5, 4, dtype=torch.float64)
        total.add_weighted_sum_to(into, torch.tensor([0.3, 0.0, 2.0], dtype=torch.float64))
        torch.testing.assert_close(into, 0.3 * whole[0] + 2 * whole[2], rtol=1e-9, atol=1e-9)
