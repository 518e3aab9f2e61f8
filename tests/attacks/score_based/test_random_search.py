import pytest
import torch
from torch import Tensor

from quintain.attacks import PGD, RandomSearch
from quintain.core.errors import SettingError
from quintain.losses import margin
from quintain.testing import batch_invariant_net, random_inputs
from quintain.threats import Color, Negative, Patch, ProjectedLight

X = random_inputs(6, 1, 5, 5, seed=3)
Y = torch.zeros(6, dtype=torch.long)


def one_pixel(z: Tensor) -> Tensor:
    """Class 1 where pixel (1, 3) is bright."""
    return torch.stack((torch.full((len(z),), 0.5, dtype=z.dtype), z[:, 0, 1, 3]), 1)


def test_it_finds_the_one_place_of_a_sticker_that_matters() -> None:
    x = X * 0.4
    outcome = RandomSearch(samples=300, steps=0)(one_pixel, x, Y, Patch(0.15))
    assert outcome.success.all()
    assert (outcome.adversarial[:, 0, 1, 3] > 0.5).all()


def test_the_negative_is_tried_and_no_more_than_that_is_claimed() -> None:
    dark = X * 0.05
    dark[0, 0, 1, 3] = 0.5
    outcome = RandomSearch(samples=5, steps=5)(one_pixel, dark, Y, Negative())
    assert outcome.success.tolist() == [False] + [True] * 5
    assert torch.equal(outcome.adversarial[1:], 1 - dark[1:])
    assert (outcome.queries_to_success[1:] == 2).all()


def test_refining_comes_near_the_optimum_of_two_parameters() -> None:
    model, threat = batch_invariant_net(25, 3, seed=1, lead=40.0), Color(0.4, 0.6)
    found = margin(model(RandomSearch(100, 300)(model, X, Y, threat).adversarial), Y)
    line = torch.linspace(-1, 1, 81, dtype=X.dtype)
    grid = [
        margin(model(threat.render(X, point.expand(6, 2))), Y) for point in torch.cartesian_prod(line, line)
    ]
    assert (found >= torch.stack(grid).amax(0) - 0.01).all()


def test_refining_adds_to_guessing() -> None:
    model, threat = batch_invariant_net(25, 3, seed=1, lead=40.0), ProjectedLight(0.5)
    guessed, refined = (
        margin(model(attack(model, X, Y, threat).adversarial), Y).mean()
        for attack in (RandomSearch(200, 0), RandomSearch(50, 150))
    )
    assert refined > guessed + 0.1


def test_it_finds_what_a_masked_gradient_hides() -> None:
    """A model whose gradient says nothing: the light is seen in steps of a quarter."""
    weight = torch.randn(25, generator=torch.Generator().manual_seed(0), dtype=X.dtype)

    def stepped(z: Tensor) -> Tensor:
        score = (z.flatten(1).mul(4).floor() / 4 + 0 * z.flatten(1)) @ weight
        return torch.stack((torch.zeros_like(score), score - (X.flatten(1) @ weight).amax() - 1), 1)

    threat = ProjectedLight(0.5)
    assert RandomSearch()(stepped, X, Y, threat).success.sum() > PGD()(stepped, X, Y, threat).success.sum()


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 0), "expected one of them to be at least 1"),
        ((-1, 5), "samples = -1; expected at least 0"),
        ((5, -1), "steps = -1; expected at least 0"),
        ((5, 2.5), r"steps = 2\.5; expected a whole number"),
    ],
)
def test_numbers_out_of_range_are_refused(numbers: tuple[int, int], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        RandomSearch(*numbers)
