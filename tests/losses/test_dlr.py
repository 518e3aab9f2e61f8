import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quintain.losses import dlr, log_probability_margin, margin, targeted_dlr


def drawn(classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, classes, (6,), generator=generator)
    logits = torch.randn(6, classes, generator=generator, dtype=torch.float64)
    return logits, y, (y + 1 + torch.randint(0, classes - 1, (6,), generator=generator)) % classes


@given(st.integers(2, 9), st.integers(0, 2**20))
def test_against_a_loop(classes: int, seed: int) -> None:
    logits, y, target = drawn(classes, seed)
    for place, row in enumerate(logits.tolist()):
        top = sorted(row, reverse=True)
        true, aim = row[y[place]], row[target[place]]
        best = max(score for label, score in enumerate(row) if label != y[place])
        spread = top[0] - top[2] if classes > 2 else 1
        guided = {2: 1, 3: top[0] - (top[1] + top[-1]) / 2}.get(
            classes, top[0] - (top[2 % classes] + top[3 % classes]) / 2
        )
        assert dlr(logits, y)[place].item() == pytest.approx((best - true) / spread)
        assert targeted_dlr(logits, y, target)[place].item() == pytest.approx((aim - true) / guided)


@given(st.integers(2, 9), st.integers(0, 2**20))
def test_every_guide_has_a_gradient_with_any_number_of_classes(classes: int, seed: int) -> None:
    logits, y, target = drawn(classes, seed)
    logits.requires_grad_()
    (slope,) = torch.autograd.grad(targeted_dlr(logits, y, target).sum(), logits)
    assert (slope.abs().amax(1) > 1e-6).all()


@given(st.integers(3, 9), st.integers(0, 2**20))
def test_neither_scale_nor_shift_matters(classes: int, seed: int) -> None:
    logits, y, target = drawn(classes, seed)
    assert torch.allclose(dlr(1e3 * logits + 7, y), dlr(logits, y))
    assert torch.allclose(targeted_dlr(1e3 * logits + 7, y, target), targeted_dlr(logits, y, target))


def test_tied_logits_give_the_margin() -> None:
    logits = torch.tensor([[5.0, 5.0, 5.0, 5.0], [2.0, 2.0, 2.0, -1.0]], requires_grad=True)
    y = torch.tensor([0, 3])
    value = dlr(logits, y)
    assert torch.equal(value, margin(logits, y))
    (slope,) = torch.autograd.grad(value.sum(), logits)
    assert slope.isfinite().all()
    assert slope.any(1).all()


@given(st.integers(2, 9), st.integers(0, 2**20))
def test_the_lead_of_probabilities_against_its_definition(classes: int, seed: int) -> None:
    logits, y, target = drawn(classes, seed)
    chances = logits.softmax(1)
    lead = (chances.gather(1, target[:, None]) - chances.gather(1, y[:, None])).squeeze(1)
    assert torch.allclose(log_probability_margin(logits, target, y), torch.log1p(lead), atol=1e-12)


def test_the_lead_of_probabilities_keeps_its_slope() -> None:
    logits = torch.tensor([[300.0, 1.0, 0.0]], requires_grad=True)
    value = log_probability_margin(logits, torch.tensor([1]), torch.tensor([0]))
    (slope,) = torch.autograd.grad(value.sum(), logits)
    assert value.item() == pytest.approx(-299, rel=0.01)
    assert slope[0, 0].item() == pytest.approx(-1)
