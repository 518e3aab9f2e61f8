"""Tables of vectors, one by one and in bags, against a loop over single examples."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from tests.dp.support.singles import check_singles, clipped_sum, passes

IDS = torch.tensor([[0, 2, 2, 1], [4, 4, 4, 4], [2, 3, 2, 3]])
"""Examples that repeat ids, and share them."""


class Bags(nn.Module):
    """Bags of x (B, 1 + T): as many ids of each row as its first number says, in one line with offsets."""

    def __init__(self, table: nn.EmbeddingBag) -> None:
        super().__init__()
        self.table = table

    def forward(self, x: Tensor) -> Tensor:
        ids = torch.cat([row[1 : 1 + int(row[0])] for row in x] or [x.new_zeros(0)])
        ends = torch.cat([x.new_zeros(1), x[:, 0].cumsum(0)])
        offsets = ends if self.table.include_last_offset else ends[:-1]
        weights = ids.double().cos() if self.table.mode == "sum" else None
        return self.table(ids, offsets=offsets, per_sample_weights=weights)


class Weighed(nn.Module):
    """Bags with shares that depend on the ids."""

    def __init__(self, table: nn.EmbeddingBag) -> None:
        super().__init__()
        self.table = table

    def forward(self, x: Tensor) -> Tensor:
        return self.table(x, per_sample_weights=x.double().cos())


@pytest.mark.parametrize("padding", [None, 2])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_embeddings_add_repeated_ids_before_the_norm(batch: int, padding: int | None) -> None:
    net = nn.Sequential(nn.Embedding(5, 3, padding_idx=padding), nn.Flatten(), nn.Linear(12, 2)).double()
    check_singles(net, IDS[:batch], mean=True)


def test_the_padding_row_gets_no_gradient() -> None:
    for net in (nn.Embedding(5, 3, padding_idx=2), nn.EmbeddingBag(5, 3, padding_idx=2)):
        (turn,) = passes(net, IDS, torch.sum)
        assert (clipped_sum(turn, 1.0, mean=False).total[net.weight][2] == 0).all()


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 4])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_bags_of_equal_size(batch: int, padding: int | None, mode: str) -> None:
    check_singles(nn.EmbeddingBag(5, 3, mode=mode, padding_idx=padding).double(), IDS[:batch], mean=False)


def test_bags_with_shares() -> None:
    check_singles(Weighed(nn.EmbeddingBag(5, 3, mode="sum", padding_idx=2)).double(), IDS, mean=True)


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 4), min_size=0, max_size=5),
    mode=st.sampled_from(["sum", "mean", "max"]),
    padding=st.sampled_from([None, 0]),
    last=st.booleans(),
    seed=st.integers(0, 99),
)
def test_bags_of_any_size(sizes: list[int], mode: str, padding: int | None, last: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 6, (len(sizes), 4), generator=generator)
    x = torch.cat([torch.tensor(sizes, dtype=torch.long)[:, None], ids], 1)
    check_singles(
        Bags(nn.EmbeddingBag(6, 2, mode=mode, padding_idx=padding, include_last_offset=last).double()),
        x,
        mean=True,
    )


def test_of_equal_largest_rows_one_gets_the_gradient() -> None:
    table = nn.EmbeddingBag.from_pretrained(torch.ones(4, 2, dtype=torch.float64), freeze=False, mode="max")
    check_singles(table, torch.tensor([[0, 1, 2], [3, 3, 1], [2, 0, 0]]), mean=False)


@pytest.mark.parametrize(
    "setting", [{"max_norm": 1.0}, {"scale_grad_by_freq": True}, {"sparse": True}], ids=str
)
@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_tables_that_mix_examples_are_refused(kind: type[nn.Module], setting: dict[str, object]) -> None:
    with pytest.raises(PrivacyError, match="max_norm, scale_grad_by_freq or sparse"):
        passes(kind(5, 3, **setting), IDS, torch.sum)


def test_ids_outside_all_bags_are_refused() -> None:
    class Short(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.EmbeddingBag(5, 3, include_last_offset=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.table(x, torch.tensor([0, 1, 2]))

    with pytest.raises(PrivacyError, match="do not cut its 4 ids"):
        passes(Short(), torch.arange(4), torch.sum)
