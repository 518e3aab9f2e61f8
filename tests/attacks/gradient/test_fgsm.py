import pytest
import torch

import quintain
from quintain.attacks import FGSM, fgsm_attack
from quintain.core.errors import DataError, SettingError
from quintain.testing import batch_invariant_net, random_inputs
from quintain.threats import Linf, Mask


def test_the_function_is_its_formula() -> None:
    image = torch.tensor([0.0, 0.5, 0.5, 1.0, 0.99])
    slope = torch.tensor([-3.0, 2.0, 0.0, 1e-9, 5.0])
    assert torch.allclose(fgsm_attack(image, 0.1, slope), torch.tensor([0.0, 0.6, 0.5, 1.0, 1.0]))
    assert quintain.fgsm_attack is fgsm_attack


def test_the_attack_takes_the_step_of_the_function() -> None:
    x = random_inputs(8, 3, 3)
    model = batch_invariant_net(9, 4, seed=2)
    y = model(x).argmax(1)
    z = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(torch.nn.functional.cross_entropy(model(z), y), z)
    outcome = FGSM()(model, x, y, Linf(0.05))
    stepped = fgsm_attack(x, 0.05, slope)
    gained = torch.nn.functional.cross_entropy(model(outcome.adversarial), y, reduction="none")
    moved = (outcome.adversarial != x).flatten(1).any(1)
    assert moved.any()
    assert torch.allclose(outcome.adversarial[moved], stepped[moved])
    assert (gained[moved] > torch.nn.functional.cross_entropy(model(x), y, reduction="none")[moved]).all()


def test_its_cost_is_one_gradient() -> None:
    x = random_inputs(6, 5)
    model = batch_invariant_net(5, 3, lead=50.0)
    outcome = FGSM()(model, x, torch.zeros(6, dtype=torch.long), Linf(0.2))
    assert outcome.backwards.tolist() == [1] * 6
    assert outcome.forwards.tolist() == [3] * 6


def test_a_saturated_float32_model_is_still_stepped() -> None:
    x = torch.full((1, 4), 0.5)
    weight = torch.tensor([1.0, -1.0, 1.0, -1.0])

    def confident(z: torch.Tensor) -> torch.Tensor:
        return torch.stack([300 + 0 * z.sum(1), 100 * (z @ weight)], 1)

    outcome = FGSM()(confident, x, torch.tensor([0]), Linf(0.1))
    assert torch.allclose(outcome.adversarial, torch.tensor([[0.6, 0.4, 0.6, 0.4]]), atol=1e-6)


@pytest.mark.parametrize("threat", [Linf(0.1), Mask("border", 0.3)])
def test_nothing_is_random(threat: Linf | Mask) -> None:
    x = random_inputs(5, 1, 4, 4)
    model = batch_invariant_net(16, 3)
    first, second = (FGSM()(model, x, model(x).argmax(1), threat, seed=seed) for seed in (0, 1))
    assert torch.equal(first.adversarial, second.adversarial)


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"threat": 0.05}, SettingError, r"a threat of 0\.05 \(float\); expected a ball"),
        ({"x": [[0.5]]}, DataError, "inputs in a list; expected a tensor"),
        ({"y": [0, 1]}, DataError, "labels in a list; expected a tensor"),
    ],
)
def test_wrong_types_are_named_with_what_to_give(change, error, told) -> None:
    model, x = batch_invariant_net(9, 4, seed=2), random_inputs(2, 3, 3)
    given = {"x": x, "y": model(x).argmax(1), "threat": Linf(0.05), **change}
    with pytest.raises(error, match=told):
        FGSM()(model, **given)
