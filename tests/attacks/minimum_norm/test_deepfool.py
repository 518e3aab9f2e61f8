"""DeepFool and SuperDeepFool: the nearest boundary, in the box, and what it costs to find it."""

import pytest
import torch
from torch import Tensor

from quintain.attacks import DeepFool, SuperDeepFool
from quintain.core.errors import SettingError
from quintain.testing import batch_invariant_net, linear_task, random_inputs, smallest_linear_change
from quintain.threats import L2, Linf, Threat

BALLS = [Linf(1.0), L2(9.0)]
every_ball = pytest.mark.parametrize("threat", BALLS, ids=lambda ball: ball.spec)
every_method = pytest.mark.parametrize("method", [DeepFool, SuperDeepFool])


def zeros(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.long)


def linear_classes(classes: int, features: int = 20) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, weights (K, F) and biases (K,) of a linear model that answers 0 for all of them."""
    generator = torch.Generator().manual_seed(1)
    x = random_inputs(30, features, seed=6)
    weights = torch.randn(classes, features, generator=generator, dtype=torch.float64)
    weights = weights * torch.linspace(1, 5, classes, dtype=torch.float64)[:, None]
    lead = (x @ weights.T).amax(0)
    return x, weights, torch.cat((lead.new_zeros(1) + 2, -lead[1:] + (x @ weights[0]).amin()))


def least_of(threat: Threat, x: Tensor, weights: Tensor, biases: Tensor, rival: int) -> Tensor:
    """The smallest change in the box to where a target class class leads the first."""
    logits = x @ weights.T + biases
    return smallest_linear_change(threat, weights[rival] - weights[0], logits[:, 0] - logits[:, rival], x)


@every_ball
def test_the_nearest_class_is_not_the_one_with_the_largest_logit(threat: Threat) -> None:
    x, weights, biases = linear_classes(6)
    least = torch.stack([least_of(threat, x, weights, biases, rival) for rival in range(1, 6)]).amin(0)

    def model(z: Tensor) -> Tensor:
        return z @ weights.T + biases

    assert model(x).argmax(1).eq(0).all()
    outcome = DeepFool()(model, x, zeros(30), threat)
    assert torch.equal(outcome.success, least.isfinite())
    assert (outcome.size <= least * 1.001)[outcome.success].all()
    greedy = DeepFool(candidates=1)(model, x, zeros(30), threat)
    assert (greedy.size > outcome.size * 1.05).any()


@every_ball
def test_a_target_is_reached_where_it_beats_every_class(threat: Threat) -> None:
    x, weights, biases = linear_classes(4)

    def model(z: Tensor) -> Tensor:
        return z @ weights.T + biases

    outcome = DeepFool()(model, x, zeros(30), threat, targets=zeros(30) + 3)
    assert outcome.success.any()
    assert model(outcome.adversarial)[outcome.success].argmax(1).eq(3).all()
    assert (outcome.size >= least_of(threat, x, weights, biases, 3) * (1 - 1e-9))[outcome.success].all()


@every_method
@pytest.mark.parametrize("shape", [(60,), (2, 5, 6)])
def test_a_plane_takes_one_move_and_the_box_is_kept(method: type, shape: tuple[int, ...]) -> None:
    threat = L2(9.0)
    linear, x, w, need = linear_task(threat, shape=shape)
    outcome = method()(linear, x, zeros(len(x)), threat)
    least = smallest_linear_change(threat, w, need, x)
    assert torch.equal(outcome.success, least.isfinite())
    assert (outcome.size <= least * 1.0005)[outcome.success].all()
    textbook = need / torch.linalg.vector_norm(w)
    assert (textbook < 0.97 * least)[need > 0].any()
    assert (outcome.backwards[outcome.success & (need > 0)] == (2 if method is DeepFool else 3)).all()


@every_method
def test_what_the_box_makes_unreachable_is_unbroken_and_soon_given_up(method: type) -> None:
    x = random_inputs(8, 12)
    w = torch.randn(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bias = 1 + (w.clamp(min=0)).sum()
    outcome = method(steps=40)(lambda z: torch.stack([0 * z[:, 0], z @ w - bias], 1), x, zeros(8), L2(9.0))
    assert not outcome.success.any()
    assert torch.equal(outcome.adversarial, x)
    assert (outcome.backwards <= 3).all()


@pytest.mark.parametrize(
    ("candidates", "classes", "asked"), [(1, 5, 1), (3, 5, 3), (10, 5, 4), (10, 2, 1), (10, 30, 10)]
)
def test_each_candidate_costs_a_gradient_a_move(candidates: int, classes: int, asked: int) -> None:
    outcome = DeepFool(steps=3, candidates=candidates)(
        batch_invariant_net(40, classes, lead=90.0), random_inputs(5, 40), zeros(5), L2(0.3)
    )
    assert not outcome.success.any()
    assert (outcome.backwards <= 3 * asked).all()
    assert outcome.backwards.max() == 3 * asked


@every_method
@pytest.mark.parametrize("queries", [3, 4, 6, 11])
def test_a_budget_cuts_the_candidates_and_not_the_check(method: type, queries: int) -> None:
    x = random_inputs(12, 14, seed=2)
    model = batch_invariant_net(14, 6, seed=3)
    outcome = method()(model, x, model(x).argmax(1), L2(9.0), max_queries=queries)
    assert (outcome.forwards <= queries).all()
    assert (queries < 6) or outcome.success.any()


def test_the_true_class_may_be_the_last() -> None:
    x = random_inputs(12, 14, seed=2)
    model = batch_invariant_net(14, 5, seed=3)
    y = model(x).argmax(1)
    order = torch.tensor([4, 3, 2, 1, 0])
    plain = DeepFool()(model, x, y, L2(9.0))
    turned = DeepFool()(lambda z: model(z)[:, order], x, order[y], L2(9.0))
    assert y.eq(4).any()
    assert torch.allclose(plain.size, turned.size)


def test_turning_onto_the_normal_shortens_the_change() -> None:
    x = random_inputs(40, 30, seed=2)
    model = batch_invariant_net(30, 4, seed=3)
    y = model(x).argmax(1)
    plain, turned = DeepFool()(model, x, y, L2(9.0)), SuperDeepFool()(model, x, y, L2(9.0))
    both = plain.success & turned.success
    assert (turned.size <= plain.size * 1.02)[both].all()
    assert (turned.size / plain.size)[both].mean() < 0.99


@every_method
@pytest.mark.parametrize(
    ("setting", "value"), [("steps", 0), ("candidates", 0), ("overshoot", -0.1), ("overshoot", float("nan"))]
)
def test_settings_out_of_range_are_refused(method: type, setting: str, value: float) -> None:
    with pytest.raises(SettingError, match=f"{setting} = .*; expected"):
        method(**{setting: value})
