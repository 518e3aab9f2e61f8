"""Sigma-zero: the smooth count, its threshold, and pixels of several channels."""

from itertools import combinations, product

import pytest
import torch
from torch import Tensor

from quintain.attacks import SigmaZero
from quintain.attacks.minimum_norm.sigma_zero import _l0_surrogate_gradient
from quintain.core.errors import SettingError
from quintain.testing import batch_invariant_net, random_inputs
from quintain.threats import L0


@pytest.mark.parametrize("shape", [(4, 9), (4, 3, 2, 3)])
def test_the_smooth_count_is_what_is_descended(shape: tuple[int, ...]) -> None:
    share = (
        0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ).requires_grad_()
    squares = share.square().sum(1).flatten(1) if share.dim() == 4 else share.square()
    (expected,) = torch.autograd.grad((squares / (squares + 1e-3)).mean(1).sum(), share)
    assert torch.allclose(_l0_surrogate_gradient(share.detach(), 1e-3), expected)


def test_a_pixel_moves_in_all_its_channels_or_is_exactly_clean() -> None:
    x = random_inputs(8, 3, 3, 4, seed=1)
    model = batch_invariant_net(36, 3, seed=2)
    outcome = SigmaZero(steps=40)(model, x, model(x).argmax(1), L0(12))
    assert outcome.success.all()
    assert torch.equal(outcome.size, (outcome.adversarial != x).any(1).flatten(1).sum(1).double())
    assert (outcome.size < 12).all()


def fewest(model: object, x: Tensor, y: Tensor) -> float:
    """Pixels that a break needs, of one input of 8, by trying all sets of up to 3 with 5 values each;
    infinite beyond.
    """
    levels = torch.linspace(0, 1, 5, dtype=torch.float64)
    for count in (1, 2, 3):
        values = torch.tensor(list(product(levels.tolist(), repeat=count)), dtype=torch.float64)
        for places in combinations(range(8), count):
            z = x.expand(len(values), 8).clone()
            z[:, list(places)] = values
            if (model(z).argmax(1) != y).any():  # type: ignore[operator]
                return count
    return torch.inf


def test_no_more_than_one_pixel_above_the_fewest() -> None:
    x = random_inputs(20, 8, seed=4)
    model = batch_invariant_net(8, 3, seed=5)
    y = model(x).argmax(1)
    outcome = SigmaZero()(model, x, y, L0(8))
    least = torch.tensor([fewest(model, x[row : row + 1], y[row]) for row in range(20)])
    known = least.isfinite()
    assert int(known.sum()) > 10
    assert (outcome.size <= least + 1)[known].all()
    assert (outcome.size[known] - least[known]).mean() < 0.2


def test_an_outcome_larger_than_the_threat_does_not_count() -> None:
    x = random_inputs(20, 8, seed=4)
    model = batch_invariant_net(8, 3, seed=5)
    y = model(x).argmax(1)
    wide, narrow = (SigmaZero(steps=40)(model, x, y, L0(eps)) for eps in (8, 1))
    assert torch.equal(narrow.success, wide.size <= 1)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("steps", 0), ("step_size", 0.0), ("sigma", 0.0), ("threshold", 1.0), ("threshold_factor", 0.0)],
)
def test_settings_out_of_range_are_refused(setting: str, value: float) -> None:
    with pytest.raises(SettingError, match=f"{setting} = .*; expected"):
        SigmaZero(**{setting: value})
