"""Single precision on hostile numbers: no form lets a clipped gradient out longer than the bound."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from quintain.dp.per_example import cost_model
from quintain.dp.per_example.grads import (
    BlockGrads,
    DenseGrads,
    OuterProductGrads,
    PerExampleGrads,
    SummedGrads,
    TableRowGrads,
)
from quintain.dp.rules.convolutions import ConvGeometry, ConvGrads
from quintain.dp.step.clipping import flat_clip_factors

BATCH, POSITIONS, INPUTS, OUTPUTS = 6, 64, 12, 10
IDS = torch.arange(BATCH * 8).view(BATCH, 8) % 7


def plain(x: Tensor) -> Tensor:
    return x


def cancelling(x: Tensor) -> Tensor:
    """The second half of the positions takes the first one back, but for rounding."""
    half = x.shape[1] // 2
    if half == 0:
        return x
    order = torch.randperm(half, generator=torch.Generator().manual_seed(0))
    return torch.cat([x[:, :half], x[:, order] * (-1 if x.shape[2] == OUTPUTS else 1), x[:, 2 * half :]], 1)


def one_record(value: float) -> Callable[[Tensor], Tensor]:
    def spoil(x: Tensor) -> Tensor:
        x = x.clone()
        x[2].view(-1)[3] = value
        return x

    return spoil


HOSTILE: dict[str, tuple[float, float, Callable[[Tensor], Tensor]]] = {
    "usual": (1.0, 1.0, plain),
    "huge": (1e30, 1.0, plain),
    "huge on both sides": (1e19, 1e18, plain),
    "at the end of the range": (1e37, 1e-2, plain),
    "tiny": (1e-30, 1e-4, plain),
    "too small to be squared": (1e-25, 1e29, plain),
    "too small to be squared, the other way": (1e28, 1e-24, plain),
    "cancelling": (1e8, 1.0, cancelling),
    "NaN": (1.0, 1.0, one_record(torch.nan)),
    "infinite": (1.0, 1.0, one_record(torch.inf)),
    "infinite downwards": (1.0, 1.0, one_record(-torch.inf)),
}


def outer(a: Tensor, g: Tensor) -> OuterProductGrads:
    return OuterProductGrads(a, g)


def rows(a: Tensor, g: Tensor) -> TableRowGrads:
    return TableRowGrads.from_ids(IDS, a[:, :8] * g[:, :8, :1], torch.Size((OUTPUTS, INPUTS)))


def window(groups: int = 1) -> ConvGeometry:
    return ConvGeometry(torch.Size((OUTPUTS, INPUTS // groups, 3, 3)), (1, 1), (1, 1), (1, 1), groups)


def pictures(a: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    return a.mT.reshape(BATCH, INPUTS, 8, 8), g.mT.reshape(BATCH, OUTPUTS, 8, 8)


FORMS: dict[str, Callable[[Tensor, Tensor], PerExampleGrads]] = {
    "dense": lambda a, g: DenseGrads(a[:, 0, :, None] * g[:, 0, None]),
    "outer": outer,
    "outer of one position": lambda a, g: OuterProductGrads(a[:, :1], g[:, :1]),
    "outer twice": lambda a, g: OuterProductGrads(a[:, ::2], g[:, ::2]).plus(
        OuterProductGrads(a[:, 1::2], g[:, 1::2])
    ),
    "rows": rows,
    "rows twice": lambda a, g: rows(a, g).plus(rows(a.flip(1), g.flip(1))),
    "blocks": lambda a, g: BlockGrads([outer(a, g), DenseGrads(g[:, :2, 0, None] * a[:, :1])]),
    "a table and a head": lambda a, g: SummedGrads((rows(a, g), outer(a, g))),
    "a table and a head of one position": lambda a, g: SummedGrads(
        (OuterProductGrads(a[:, :1], g[:, :1]), rows(a, g))
    ),
    "a head and dense": lambda a, g: SummedGrads((outer(a, g), DenseGrads(g[:, 0, :, None] * a[:, 0, None]))),
    "filters from patches": lambda a, g: ConvGrads(window(), *pictures(a, g)),
    "filters, folded": lambda a, g: ConvGrads(window(2), *pictures(a, g)),
    "filters twice": lambda a, g: ConvGrads(window(), *pictures(a, g)).plus(
        ConvGrads(window(), *pictures(a.flip(1), g))
    ),
}


@pytest.mark.parametrize("ghost", [True, False])
@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("form", FORMS)
def test_no_clipped_gradient_is_longer_than_the_bound(
    form: str, hostile: str, ghost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost_model, "ghost_norm_is_cheaper", lambda *_: ghost)
    left, right, change = HOSTILE[hostile]
    generator = torch.Generator().manual_seed(7)
    a = change(torch.randn(BATCH, POSITIONS, INPUTS, generator=generator) * left)
    g = change(torch.randn(BATCH, POSITIONS, OUTPUTS, generator=generator) * right)
    gradient = FORMS[form](a, g)
    norms = gradient.squared_norms().sqrt()
    assert norms.dtype == torch.float64
    assert not (norms < 0).any()
    gradient = gradient.zeroed_where(~norms.isfinite())
    for bound in (1e-3, 1.0, 1e5):
        weights = flat_clip_factors(norms, bound, torch.finfo(torch.float32))
        for record in range(BATCH):
            into = torch.zeros(gradient.shape)
            gradient.add_weighted_sum_to(into, torch.where(torch.arange(BATCH) == record, weights, 0))
            assert float(into.double().norm()) <= bound * (1 + 1e-6)


@pytest.mark.parametrize("ghost", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_the_bound_is_not_bought_by_norms_that_are_far_too_large(
    form: str, ghost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost_model, "ghost_norm_is_cheaper", lambda *_: ghost)
    generator = torch.Generator().manual_seed(7)
    a = torch.randn(BATCH, POSITIONS, INPUTS, generator=generator)
    g = torch.randn(BATCH, POSITIONS, OUTPUTS, generator=generator)
    gradient = FORMS[form](a, g)
    exact = gradient.to_dense().double().flatten(1).norm(dim=1)
    found = gradient.squared_norms().sqrt()
    assert (found >= exact * (1 - 1e-6)).all()
    assert (found <= exact * 1.001).all()


def test_a_form_that_took_no_account_of_rounding_would_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        OuterProductGrads, "_with_rounding_margin", lambda _, found: torch.cat(list(found))[:, 0].clamp(min=0)
    )
    monkeypatch.setattr(cost_model, "ghost_norm_is_cheaper", lambda *_: True)
    broken = 0
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        a = cancelling(torch.rand(BATCH, POSITIONS, INPUTS, generator=generator) * 1e8)
        sign = torch.cat([torch.ones(POSITIONS // 2), -torch.ones(POSITIONS // 2)])[:, None]
        gradient = OuterProductGrads(a, sign * torch.rand(BATCH, 1, OUTPUTS, generator=generator))
        weights = flat_clip_factors(gradient.squared_norms().sqrt(), 1e-3, torch.finfo(torch.float32))
        for record in range(BATCH):
            into = torch.zeros(gradient.shape)
            gradient.add_weighted_sum_to(into, torch.where(torch.arange(BATCH) == record, weights, 0))
            broken += float(into.double().norm()) > 1e-3 * (1 + 1e-6)
    assert broken


@pytest.mark.parametrize("batch", [0, BATCH])
@pytest.mark.parametrize("form", FORMS)
def test_what_is_there_is_added_to_or_overwritten(form: str, batch: int) -> None:
    generator = torch.Generator().manual_seed(7)
    a = torch.randn(BATCH, POSITIONS, INPUTS, generator=generator)
    g = torch.randn(BATCH, POSITIONS, OUTPUTS, generator=generator)
    gradient = FORMS[form](a, g) if batch else DenseGrads(torch.zeros(0, OUTPUTS, INPUTS))
    weights = torch.linspace(0.5, 1, batch, dtype=torch.float64)
    alone, added, over = (
        torch.zeros(gradient.shape),
        torch.ones(gradient.shape),
        torch.full(gradient.shape, torch.nan),
    )
    gradient.add_weighted_sum_to(alone, weights)
    gradient.add_weighted_sum_to(added, weights)
    gradient.add_weighted_sum_to(over, weights, 0)
    torch.testing.assert_close(added, alone + 1, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(over, alone, atol=1e-4, rtol=1e-4)
