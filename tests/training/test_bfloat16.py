"""Training in bfloat16 ends near that in float32, resumes bit for bit, and leaves bounds in float32."""

import numpy as np
import pytest
import torch
from torch import nn

from quintain import harden
from quintain.core.errors import RunFolderError, SettingError
from quintain.core.progress import no_progress
from quintain.data.dataset import from_arrays
from quintain.harden import MTLIBP
from quintain.training import Bfloat16Loss, CleanCrossEntropy, Recipe, fit
from quintain.training.bfloat16 import require_bfloat16
from tests.training.test_loop import CutOff

RECIPE = Recipe(4, batch_size=16, learning_rate=0.02)


def blobs(count=96):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, count)
    x = np.clip(0.3 + 0.4 * labels[:, None] + 0.1 * rng.normal(size=(count, 6)), 0, 1)
    return from_arrays(x.astype(np.float32), labels)


class Recording(nn.Linear):
    """Keeps the types of what it returns."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.seen = set()

    def forward(self, x):
        y = super().forward(x)
        self.seen.add(y.dtype)
        return y


def net(layer=nn.Linear):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(layer(6, 16), nn.ReLU(), nn.Linear(16, 2))


def weights(model):
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def test_it_ends_near_float32_with_weights_and_gradients_in_it():
    single, half, start = net(), net(Recording), weights(net())
    exact = fit(single, blobs(), RECIPE)
    rounded = fit(half, blobs(), RECIPE, objective=Bfloat16Loss(CleanCrossEntropy()))
    assert half[0].seen == {torch.bfloat16}
    assert {parameter.grad.dtype for parameter in half.parameters()} == {torch.float32}
    assert not torch.equal(weights(single), weights(half))
    # a step rounds to 8 bits; a tenth of the way that training went is far more
    assert (weights(single) - weights(half)).norm() < 0.1 * (weights(single) - start).norm()
    assert rounded.losses == pytest.approx(exact.losses, rel=0.05)


def test_a_run_that_was_cut_off_goes_on_bit_for_bit_and_one_in_float32_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("quintain.core.progress.CheckpointTimer.is_due", lambda _: True)
    objective, path = Bfloat16Loss(CleanCrossEntropy()), tmp_path / "c"
    whole, cut = net(), net()
    fit(whole, blobs(), RECIPE, objective=objective)
    with pytest.raises(KeyboardInterrupt):
        fit(cut, blobs(), RECIPE, objective=objective, checkpoint=path, progress=CutOff(9))
    with pytest.raises(RunFolderError, match="other settings"):
        fit(net(), blobs(), RECIPE, checkpoint=path)
    fit(cut, blobs(), RECIPE, objective=objective, checkpoint=path, progress=no_progress)
    assert torch.equal(weights(whole), weights(cut))


def test_bounds_of_certified_training_stay_in_float32():
    # by bounds alone, no product is left that bfloat16 would round
    defense = MTLIBP("linf:0.05", RECIPE, warmup=0.0, ramp=0.0)
    single, half = net(), net()
    harden.fit(single, blobs(), defense)
    harden.fit(half, blobs(), defense, bfloat16=True)
    assert torch.equal(weights(single), weights(half))
    mixed = MTLIBP("linf:0.05", RECIPE, robust_weight=0.5)
    harden.fit(half, blobs(), mixed, bfloat16=True)
    assert not torch.equal(weights(single), weights(half))


def test_a_device_without_it_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    for device in ("cuda", "mps"):
        with pytest.raises(SettingError, match=f"bfloat16 on {device}.*leave Bfloat16Loss out"):
            require_bfloat16(torch.device(device))
    require_bfloat16(torch.device("cpu"))
