"""Torch's transformers, whole."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.dp import PrivacyEngine
from tests.dp.support.loops import step
from tests.dp.support.singles import EXACT, built, captured, check_singles


class Decode(nn.Module):
    """A causal decoder that looks at all of the input."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first = first
        layer = nn.TransformerDecoderLayer(4, 2, 7, dropout=0.0, batch_first=first, norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, 2, norm=nn.LayerNorm(4))

    def forward(self, x: Tensor) -> Tensor:
        target, memory = x[:, :3], x[:, 2:]
        mask = nn.Transformer.generate_square_subsequent_mask(3, dtype=x.dtype)
        if self.first:
            return self.decoder(target, memory, tgt_mask=mask, tgt_is_causal=True)
        return self.decoder(target.transpose(0, 1), memory.transpose(0, 1), tgt_mask=mask).transpose(0, 1)


class Encode(nn.Module):
    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first = first
        layer = nn.TransformerEncoderLayer(4, 2, 7, dropout=0.0, activation="gelu", batch_first=first)
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x) if self.first else self.encoder(x.transpose(0, 1)).transpose(0, 1)


class Whole(nn.Module):
    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first = first
        self.net = nn.Transformer(4, 2, 1, 1, 6, dropout=0.0, batch_first=first)

    def forward(self, x: Tensor) -> Tensor:
        target = x[:, :2]
        return (
            self.net(x, target)
            if self.first
            else self.net(x.transpose(0, 1), target.transpose(0, 1)).transpose(0, 1)
        )


@pytest.mark.parametrize("examples", [1, 5])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", [Encode, Decode, Whole])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_transformers_work_whole_and_also_with_as_many_positions_as_examples(
    kind: type[nn.Module], first: bool, examples: int
) -> None:
    net, x = (
        built(kind(first)),
        torch.randn(examples, 5, 4, generator=torch.Generator().manual_seed(examples), dtype=torch.float64),
    )
    plain = copy.deepcopy(net)
    capture = captured(net)
    torch.testing.assert_close(net(x), plain(x), **EXACT)
    capture.remove()
    check_singles(net, x, mean=True)


def test_a_small_transformer_trains_privately() -> None:
    torch.manual_seed(0)
    x = torch.randn(48, 6, 8)
    y = (x[:, 0, 0] > 0).long()
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = nn.Sequential(
        nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Flatten(), nn.Linear(48, 2)
    )
    before = [parameter.clone() for parameter in net.parameters()]
    engine = PrivacyEngine(seed=0)
    module, optimizer, loader = engine.make_private(
        module=net,
        optimizer=torch.optim.Adam(net.parameters(), lr=0.01),
        data_loader=DataLoader(TensorDataset(x, y), batch_size=16),
        noise_multiplier=1.0,
        max_grad_norm=1.0,
    )
    for _ in range(2):
        for rows, labels in loader:
            step(module, optimizer, rows, labels)
    assert engine.get_epsilon(1e-3) > 0
    assert all(
        not torch.equal(parameter, old) for parameter, old in zip(net.parameters(), before, strict=True)
    )
    assert module.eval()(x).shape == (48, 2)
