"""A module whose batch is second is probed along its batch, logits (B, K) included."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import PrivacyError
from quintain.dp import PrivacySettings, make_private

X, Y = torch.randn(24, 5, 3, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3
SETTINGS = PrivacySettings(noise_multiplier=1.0, batch_first=False)
FINE = "no dependence found between examples"


class Last(nn.Module):
    """Logits (B, K) of the last of the hidden states (T, B, H)."""

    def __init__(self, *, mixes: bool = False) -> None:
        super().__init__()
        self.body, self.head, self.mixes = nn.Linear(3, 4), nn.Linear(4, 3), mixes

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.body(x).tanh()
        logits = self.head(hidden[-1])
        return logits - logits.mean(0) if self.mixes else logits


def one_step(net: nn.Module):
    loader = DataLoader(TensorDataset(X, Y), batch_size=12)
    private = make_private(net, torch.optim.SGD(net.parameters(), lr=0.1), loader, SETTINGS)
    for x, y in private.loader:
        F.cross_entropy(net(x.transpose(0, 1)), y).backward()
        private.optimizer.step()
        break
    return private


def test_logits_have_the_batch_first_all_the_same() -> None:
    probe = one_step(Last()).report.runs[0].mixing_probe
    assert (probe.model, probe.values, probe.loss) == (FINE, FINE, FINE)


def test_logits_that_mix_the_batch_are_found() -> None:
    with pytest.raises(PrivacyError, match="output of one example depends on another"):
        one_step(Last(mixes=True))
