"""JSMA: the best pair, found without comparing pairs."""

from itertools import combinations

import pytest
import torch
from torch import Tensor

from quintain.attacks import JSMA
from quintain.core.errors import SettingError
from quintain.testing import batch_invariant_net, random_inputs
from quintain.threats import L0


def saliency(model: object, x: Tensor, target: int) -> dict[tuple[int, int], float]:
    """The map's value of every pair of one input (1, F), from the probabilities' Jacobian."""
    jacobian = torch.autograd.functional.jacobian(lambda z: model(z).softmax(1)[0], x)[:, 0]  # type: ignore[operator]
    way = torch.where(jacobian[target] > 0, 1 - x[0], -x[0])
    toward = jacobian[target] * way
    others = (jacobian.sum(0) - jacobian[target]) * way
    return {
        (i, j): float(-(toward[i] + toward[j]) * (others[i] + others[j]))
        for i, j in combinations(range(x.shape[1]), 2)
    }


@pytest.mark.parametrize("targeted", [False, True])
def test_the_first_pair_is_the_best_of_all_pairs(targeted: bool) -> None:
    model = batch_invariant_net(12, 4, seed=3)
    for x in random_inputs(8, 12, seed=2).split(1):
        y = model(x).argmax(1)
        order = model(x)[0].argsort(descending=True)
        target = int(order[2 if targeted else 1])
        asked: list[Tensor] = []

        def watched(z: Tensor, asked: list[Tensor] = asked) -> Tensor:
            asked.append(z.detach().clone())
            return model(z)

        JSMA()(watched, x, y, L0(12), targets=torch.tensor([target]) if targeted else None)
        moved = tuple((asked[2] != x)[0].nonzero().squeeze(1).tolist())
        scores = saliency(model, x, target)
        assert scores[moved] == pytest.approx(max(scores.values()))
        assert ((asked[2] == 0) | (asked[2] == 1))[0, list(moved)].all()


def test_no_more_pixels_are_tried_than_twice_the_threat() -> None:
    x = random_inputs(4, 40)
    asked: list[int] = []

    def fair(z: Tensor) -> Tensor:
        asked.append(int((z != x[: len(z)]).sum(1).max()))
        return torch.stack([100 - z.sum(1), z.sum(1) * 0], 1)

    outcome = JSMA()(fair, x, torch.zeros(4, dtype=torch.long), L0(5))
    assert not outcome.success.any()
    assert max(asked) == 10


def test_a_large_image_needs_no_table_of_pairs() -> None:
    x = random_inputs(2, 3, 160, 160, dtype=torch.float32)
    w = torch.randn(3 * 160 * 160, generator=torch.Generator().manual_seed(0))

    def linear(z: Tensor) -> Tensor:
        rise = (z - x[: len(z)]).flatten(1) @ w
        return torch.stack([torch.full_like(rise, 20.0), rise], 1)

    outcome = JSMA()(linear, x, torch.zeros(2, dtype=torch.long), L0(10))
    gains = torch.where(w > 0, 1 - x.flatten(1), x.flatten(1)) * w.abs()
    least = 1 + (gains.view(2, 3, -1).sum(1).sort(dim=1, descending=True).values.cumsum(1) <= 20).sum(1)
    assert torch.equal(outcome.size, least.double())


def test_pixels_already_at_their_corner_are_not_chosen() -> None:
    x, w = torch.tensor([[1.0, 0.0, 0.5, 0.5]]), torch.tensor([9.0, -9.0, 1.0, 1.0])

    def linear(z: Tensor) -> Tensor:
        rise = (z - x) @ w
        return torch.stack([torch.full_like(rise, 0.9), rise], 1)

    outcome = JSMA()(linear, x, torch.zeros(1, dtype=torch.long), L0(4))
    assert outcome.success.all()
    assert outcome.adversarial.tolist() == [[1.0, 0.0, 1.0, 1.0]]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(SettingError, match="pixels_per_step = 0; expected"):
        JSMA(pixels_per_step=0)
