from itertools import product

import pytest
import torch

from quintain.attacks import PGD, RandomSearch, SpatialSearch
from quintain.core.errors import SettingError
from quintain.losses import margin
from quintain.testing import batch_invariant_net, random_inputs
from quintain.threats import Spatial

X = random_inputs(8, 1, 6, 6, seed=3)
Y = torch.zeros(8, dtype=torch.long)


def on_the_grid(threat: Spatial, model, lines: list[list[float]]) -> tuple[torch.Tensor, torch.Tensor]:
    """The margins (n, B) at each point of a grid, and the size (n,) of each point: by enumeration."""
    points = [torch.tensor([point], dtype=X.dtype) for point in product(*lines)]
    margins = torch.stack([margin(model(threat.render(X, point.expand(8, -1))), Y) for point in points])
    return margins, torch.cat([point.abs().amax(1) for point in points])


@pytest.mark.parametrize("lead", [0.0, 2.0, 4.0, 40.0])
def test_it_is_exact_on_the_grid(lead: float) -> None:
    threat, model = Spatial(rotate=30, shift=1), batch_invariant_net(36, 3, seed=1, lead=lead)
    outcome = SpatialSearch(shifts=3, angles=5)(model, X, Y, threat)
    margins, sizes = on_the_grid(threat, model, [[-1, -0.5, 0, 0.5, 1], [-1, 0, 1], [-1, 0, 1]])
    assert torch.equal(outcome.success, (margins > 0).any(0))
    left = ~outcome.success
    assert torch.equal(margin(model(outcome.adversarial), Y)[left], margins.amax(0)[left])
    smallest = torch.where(margins > 0, sizes[:, None], torch.inf).amin(0)
    assert torch.equal(outcome.size, smallest.double())
    assert (outcome.forwards[left] == len(sizes)).all()


def test_the_default_grid_is_that_of_the_paper() -> None:
    outcome = SpatialSearch()(
        batch_invariant_net(36, 3, seed=1, lead=40.0), X, Y, Spatial(rotate=30, shift=3)
    )
    assert (outcome.forwards == 5 * 5 * 31).all()


def test_growth_is_searched_where_it_is_allowed_and_a_flow_stays_still() -> None:
    model = batch_invariant_net(36, 3, seed=1, lead=40.0)
    threat = Spatial(scale=0.3, flow=1)
    outcome = SpatialSearch()(model, X, Y, threat)
    assert (outcome.forwards == 3).all()
    assert outcome.params is not None
    assert not outcome.params[:, 1:].any()
    margins, _ = on_the_grid(Spatial(scale=0.3), model, [[-1, 0, 1]])
    assert torch.equal(margin(model(outcome.adversarial), Y), margins.amax(0))


def test_a_flow_alone_is_not_for_it() -> None:
    with pytest.raises(SettingError, match="take pgd or random-search"):
        SpatialSearch()(batch_invariant_net(36, 3), X, Y, Spatial(flow=1))


def test_a_grid_of_one_is_refused() -> None:
    with pytest.raises(SettingError, match="shifts = 1; expected at least 2"):
        SpatialSearch(shifts=1)
    with pytest.raises(SettingError, match=r"angles = 7\.5; expected a whole number"):
        SpatialSearch(angles=7.5)


def test_the_grid_beats_the_gradient_where_the_picture_is_rough() -> None:
    """Motions have many local maxima: the grid finds what ascent from one start does not."""
    model, threat = batch_invariant_net(36, 3, seed=1, lead=40.0), Spatial(rotate=30, shift=2)
    grid, ascent, guesses = (
        margin(model(attack(model, X, Y, threat).adversarial), Y).mean()
        for attack in (SpatialSearch(), PGD(), RandomSearch())
    )
    assert grid > ascent
    assert guesses > ascent
