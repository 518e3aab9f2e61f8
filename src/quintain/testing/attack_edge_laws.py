"""The laws of attacks at the edges: size zero, small batches, NaN, other boxes, threats that are refused."""

from dataclasses import replace

import torch
from torch import Tensor

from quintain.attacks.base import Attack
from quintain.core.errors import SettingError
from quintain.core.registry import entries
from quintain.testing.attack_cases import example_threat, law_threat, threat_of_size
from quintain.testing.checking import require, require_equal
from quintain.testing.models import batch_invariant_net, random_inputs
from quintain.testing.outcome_laws import check_points_allowed
from quintain.threats import ParametricThreat, Threat


def check_unsupported_refused(attack: Attack) -> None:
    """Every registered threat that an attack does not support is refused by name, with attacks that can.

    Args:
        attack: The attack.

    Raises:
        AssertionError: If one is not.
    """
    x, y = torch.rand(2, 1, 4, 4), torch.zeros(2, dtype=torch.long)
    for kind in sorted(set(entries("threat")) - set(attack.supports)):
        try:
            attack(lambda z: z.flatten(1), x, y, example_threat(kind))
        except SettingError as error:
            named = f"{attack.name} does not support the threat" in str(error)
            require(named and f"Attacks that support {kind}:" in str(error), "a refusal by name", str(error))
        else:
            require(
                False, f"{kind}, which it does not support, to be refused with SettingError", "an outcome"
            )


def check_zero_size(attack: Attack, threat: Threat) -> None:
    """A ball of size zero breaks only what is misclassified already.

    Args:
        attack: The attack.
        threat: A ball that it supports, with ``eps`` 0.

    Raises:
        AssertionError: If it breaks more.
    """
    x, model = random_inputs(8, 1, 2, 3), batch_invariant_net(6, 3, seed=1)
    y = torch.zeros(8, dtype=torch.long)
    outcome = attack(model, x, y, threat)
    require_equal(
        outcome.success, model(x).argmax(1) != y, "success exactly for what is misclassified already"
    )
    require_equal(outcome.adversarial, x, "the clean inputs")


def check_misclassified_cost(attack: Attack, threat: Threat) -> None:
    """What is misclassified already costs two queries and no gradient, and stays as it is.

    Args:
        attack: The attack.
        threat: A threat that it supports.

    Raises:
        AssertionError: If it costs more.
    """
    x, model = random_inputs(5, 1, 2, 3), batch_invariant_net(6, 3, seed=1)
    outcome = attack(model, x, (model(x).argmax(1) + 1) % 3, threat)
    require(outcome.success, "success for what is misclassified already")
    require(outcome.size == 0, "a change of size 0")
    require_equal(outcome.adversarial, x, "the clean inputs")
    require(outcome.forwards == 2, "two queries, one of them to confirm", f"{outcome.forwards.tolist()}")
    require(outcome.backwards == 0, "no gradients", f"{outcome.backwards.tolist()}")


def check_small_batches(attack: Attack, threat: Threat, count: int) -> None:
    """A batch of no or one example gives an outcome of its shape, without errors.

    Args:
        attack: The attack.
        threat: A threat that it supports.
        count: How many examples, 0 or 1.

    Raises:
        AssertionError: If not.
    """
    x = random_inputs(count, 2, 3, 3, dtype=torch.float32)
    outcome = attack(batch_invariant_net(18, 2), x, torch.zeros(count, dtype=torch.long), threat)
    require(outcome.adversarial.shape == x.shape, f"points {tuple(x.shape)}")
    fields = (outcome.success, outcome.size, outcome.error, outcome.forwards)
    require(all(field.shape == (count,) for field in fields), f"fields of shape ({count},)")
    require(~outcome.error, "no errors")


def check_nan_is_error(attack: Attack, kind: str) -> None:
    """An example for which the model returns NaN is in error after one query, and never a success.

    Args:
        attack: The attack.
        kind: A kind of threat that it supports.

    Raises:
        AssertionError: If not.
    """
    x = random_inputs(8, 1, 2, 3)
    x[:, 0, 0, 0] = torch.tensor([0.0, 1.0] * 4)
    model = batch_invariant_net(6, 3, seed=1)
    y = model(x).argmax(1)

    def nan_below(z: Tensor) -> Tensor:
        return torch.where(z[:, 0, 0, :1] < 0.2, torch.nan, model(z))

    # in a ball of a tenth no example reaches the region of NaN from outside it
    threat = law_threat(kind)
    threat = threat if isinstance(threat, ParametricThreat) else threat_of_size(kind, 0.1)
    outcome = attack(nan_below, x, y, threat)
    require(outcome.error[::2], "an error where the model returns NaN")
    require(outcome.forwards[::2] == 1, "one query where the model returns NaN")
    require(~outcome.success[outcome.error], "no success where the model returns NaN")
    if not isinstance(threat, ParametricThreat):
        require(~outcome.error[1::2], "no error where the model does not return NaN")


def check_nonfinite_gradient(attack: Attack, threat: Threat) -> None:
    """Gradients that are infinite lead to no error and to no point outside the threat.

    Args:
        attack: The attack.
        threat: A threat that it supports.

    Raises:
        AssertionError: If they do.
    """
    x = random_inputs(6, 1, 1, 5)
    weights = torch.tensor([1.0, -1.0, 2.0, 0.5, -2.0], dtype=torch.float64)

    def rooted(z: Tensor) -> Tensor:
        """Logits whose gradient is infinite at 0."""
        leading = torch.full((len(z),), 9.0, dtype=z.dtype)
        return torch.stack([leading, (z.flatten(1).clamp(0, 1).sqrt() * weights).sum(1)], 1)

    outcome = attack(rooted, x, torch.zeros(6, dtype=torch.long), threat)
    check_points_allowed(outcome, x, threat)
    require(~outcome.error, "no errors from gradients that are not finite")


def check_gradient_mode(attack: Attack, threat: Threat) -> None:
    """The same is found under the caller's gradients, ``no_grad`` and ``inference_mode``, without a graph.

    Args:
        attack: The attack.
        threat: A threat that it supports.

    Raises:
        AssertionError: If not.
    """
    x, model = random_inputs(6, 1, 2, 3), batch_invariant_net(6, 3, seed=1)
    y = model(x).argmax(1)
    followed = attack(model, x.clone().requires_grad_(), y, threat)
    with torch.no_grad():
        unfollowed = attack(model, x, y, threat)
    with torch.inference_mode():
        inferred = attack(model, x * 1, y, threat)
    for outcome in (unfollowed, inferred, followed):
        require_equal(outcome.adversarial, followed.adversarial, "the same points in every gradient mode")
        require_equal(outcome.success, followed.success, "the same successes in every gradient mode")
        require(not outcome.adversarial.requires_grad, "points without a graph")


def check_wider_data_box(attack: Attack, threat: Threat) -> None:
    """In the data box [-1, 2], wider than [0, 1], every returned point stays in the ball and in the box.

    Args:
        attack: The attack.
        threat: A ball that it supports.

    Raises:
        AssertionError: If one does not.
    """
    boxed: Threat = replace(threat, low=-1.0, high=2.0)  # type: ignore[type-var]
    x, model = random_inputs(6, 1, 2, 3) * 3 - 1, batch_invariant_net(6, 3, seed=1)
    check_points_allowed(attack(model, x, model(x).argmax(1), boxed), x, boxed)
