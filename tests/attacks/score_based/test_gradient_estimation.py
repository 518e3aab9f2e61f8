import pytest
import torch
from torch import Tensor

from quintain.attacks import NES, SPSA, Goal, Search
from quintain.attacks.score_based.gradient_estimation import estimate_gradient
from quintain.attacks.score_based.spsa import random_signs
from quintain.core.errors import SettingError
from quintain.testing import batch_invariant_net, random_inputs
from quintain.threats import L2, ExampleRNG, Linf
from tests.attacks.score_based.recording import Recorder, zeros

both = pytest.mark.parametrize("attack", [NES(queries=60, pairs=4), SPSA(queries=60, pairs=4)])


def every_axis(_: ExampleRNG, like: Tensor) -> Tensor:
    return torch.eye(like.shape[1], dtype=like.dtype).expand(len(like), -1, -1)


def test_probes_along_every_axis_tell_a_linear_slope_exactly() -> None:
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    x = torch.full((2, 3), 0.5, dtype=torch.float64)
    search = Search(
        lambda z: torch.stack((z @ w * 0 + 7, z @ w), 1),
        x,
        Goal(zeros(2)),
        Linf(0.1),
        ExampleRNG(0, torch.arange(2)),
        name="t",
    )
    told = estimate_gradient(search, x, torch.arange(2), search.rng, every_axis, 3, 0.01, search.goal.margin)
    assert torch.allclose(told, w.expand(2, 3) / 3)
    assert search.model.forwards.tolist() == [7, 7]


@pytest.mark.parametrize("noise", [ExampleRNG.normal, random_signs])
def test_what_is_equal_on_both_sides_cancels(noise: object) -> None:
    x = torch.full((2, 5), 0.5, dtype=torch.float64)
    model = lambda z: torch.stack((torch.zeros(len(z), dtype=z.dtype), (z - 0.5).square().sum(1)), 1)  # noqa: E731
    search = Search(model, x, Goal(zeros(2)), Linf(0.1), ExampleRNG(0, torch.arange(2)), name="t")
    told = estimate_gradient(search, x, torch.arange(2), search.rng, noise, 6, 0.01, search.goal.margin)  # type: ignore[arg-type]
    assert (told.abs() < 1e-12).all()


@both
def test_probes_are_pairs_round_the_point_asked_before(attack: NES | SPSA) -> None:
    model, x = (
        Recorder(lambda z: torch.stack((z[:, 0] * 0 + 9, z.sum(1)), 1)),
        torch.full((1, 6), 0.5, dtype=torch.float64),
    )
    attack(model, x, zeros(1), Linf(0.2))
    current = x
    assert len(model.asked) == 13
    for probes, candidate in zip(model.asked[1::2], model.asked[2::2], strict=True):
        up, down = probes[:4], probes[4:]
        assert torch.allclose((up + down) / 2, current.expand_as(up))
        assert not torch.equal(candidate, current)
        current = candidate


@both
def test_probes_stay_in_the_box(attack: NES | SPSA) -> None:
    model = Recorder(lambda z: torch.stack((z.flatten(1)[:, 0] * 0 + 9, z.flatten(1).sum(1)), 1))
    attack(model, random_inputs(5, 1, 3, 3), zeros(5), L2(0.5))
    assert all(((z >= 0) & (z <= 1)).all() for z in model.asked)


@both
def test_a_question_that_cannot_be_paid_is_not_asked(attack: NES | SPSA) -> None:
    x = random_inputs(3, 1, 3, 3, dtype=torch.float32)
    assert attack(Recorder(), x, zeros(3), Linf(0.1)).forwards.tolist() == [55] * 3
    assert attack(Recorder(), x, zeros(3), Linf(0.1), max_queries=8).forwards.tolist() == [6] * 3
    assert attack(Recorder(), x, zeros(3), Linf(0.1), max_queries=4).forwards.tolist() == [1] * 3


@both
@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.4)])
def test_it_climbs(attack: NES | SPSA, threat: Linf | L2) -> None:
    x = random_inputs(20, 1, 4, 4, seed=4)
    model = batch_invariant_net(16, 3, seed=3, lead=30.0)
    outcome = attack(model, x, zeros(20), threat)
    rise = (model(outcome.adversarial)[:, 1:].amax(1) - model(outcome.adversarial)[:, 0]) - (
        model(x)[:, 1:].amax(1) - model(x)[:, 0]
    )
    assert (rise > 0).float().mean() > 0.9


def test_settings_of_probes_out_of_range_are_refused() -> None:
    for build in (
        lambda: NES(queries=2),
        lambda: NES(pairs=0),
        lambda: NES(momentum=1.0),
        lambda: SPSA(sigma=0.0),
        lambda: SPSA(rel_step_size=float("inf")),
    ):
        with pytest.raises(SettingError, match="expected"):
            build()


def test_too_few_queries_are_refused_by_the_name_of_the_setting() -> None:
    with pytest.raises(SettingError, match="queries = 2; expected at least 3"):
        NES(queries=2)
