import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from quintain.losses import cross_entropy, log_odds, margin


@given(st.integers(2, 12), st.integers(0, 2**20))
def test_margin_against_a_loop(classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, y = (
        torch.randn(5, classes, generator=generator),
        torch.randint(0, classes, (5,), generator=generator),
    )
    for value, row, label in zip(margin(logits, y), logits.tolist(), y.tolist(), strict=True):
        others = [score for place, score in enumerate(row) if place != label]
        assert value.item() == pytest.approx(max(others) - row[label], abs=1e-6)


@given(st.integers(2, 12), st.integers(0, 2**20))
def test_cross_entropy_is_torchs(classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(5, classes, generator=generator, dtype=torch.float64)
    y = torch.randint(0, classes, (5,), generator=generator)
    assert torch.allclose(
        cross_entropy(logits, y), functional.cross_entropy(logits, y, reduction="none"), rtol=1e-9, atol=1e-12
    )
    chances = functional.softmax(logits, 1)
    own = chances.gather(1, y[:, None]).squeeze(1)
    # the sum of the others, since 1 - own has lost its digits where own is nearly 1
    others = chances.scatter(1, y[:, None], 0.0).sum(1)
    assert torch.allclose(log_odds(logits, y), torch.log(others / own), atol=1e-6)


def test_the_directions_of_log_odds_and_cross_entropy_agree() -> None:
    logits = torch.randn(
        6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True
    )
    y = torch.arange(6) % 4
    slopes = [torch.autograd.grad(loss(logits, y).sum(), logits)[0] for loss in (log_odds, cross_entropy)]
    units = [functional.normalize(slope, dim=1) for slope in slopes]
    assert torch.allclose(*units, atol=1e-12)


def test_a_confident_answer_keeps_its_slope() -> None:
    logits = torch.tensor([[500.0, 1.0, 0.0]], requires_grad=True)
    y = torch.tensor([0])
    (lost,) = torch.autograd.grad(functional.cross_entropy(logits, y), logits)
    (kept,) = torch.autograd.grad(log_odds(logits, y).sum(), logits)
    assert (lost == 0).all()
    assert torch.allclose(kept, torch.tensor([[-1.0, 0.7311, 0.2689]]), atol=1e-4)


def test_two_classes_have_one_loss() -> None:
    logits = torch.randn(9, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = torch.arange(9) % 2
    assert torch.allclose(log_odds(logits, y), margin(logits, y), atol=1e-12)


@pytest.mark.parametrize("loss", [margin, log_odds, cross_entropy])
def test_nan_stays_nan_and_shifts_change_nothing(loss) -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 0])
    assert torch.allclose(loss(logits + 7.0, y), loss(logits, y))
    for place in range(3):
        ill = logits.clone()
        ill[1, place] = torch.nan
        assert loss(ill, y).isnan().tolist() == [False, True, False, False]


@pytest.mark.parametrize("loss", [margin, log_odds, cross_entropy])
def test_dead_classes_do_not_matter(loss) -> None:
    logits = torch.tensor([[1.0, 0.5, -1e4], [-2.0, -3.0, -1e4]])
    y = torch.tensor([0, 1])
    assert torch.allclose(loss(logits, y), loss(logits[:, :2], y), atol=1e-6)
