"""The laws of how an attack runs: queries counted, budgets kept, model untouched, every split alike."""

import copy
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from quintain.attacks.base import Attack
from quintain.attacks.outcome import AttackOutcome, Model
from quintain.core.errors import SettingError
from quintain.testing.checking import require, require_equal
from quintain.testing.models import (
    FragileNet,
    InterruptedCallError,
    LimitedAccessModel,
    RecordingModel,
    batch_invariant_net,
    random_inputs,
)
from quintain.testing.outcome_laws import (
    OUTCOME_FIELDS,
    check_never_worse,
    check_points_allowed,
    check_replayable,
)
from quintain.threats import Threat

MODELS = ((2, torch.float32), (3, torch.float64), (10, torch.float32))
"""Numbers of classes and types of inputs that outcomes are checked on."""


def small_task(count: int = 10) -> tuple[Model, Tensor, Tensor]:
    """Return a net of three classes, inputs (count, 1, 4, 4), and the classes that it predicts."""
    x = random_inputs(count, 1, 4, 4, seed=3)
    model = batch_invariant_net(16, 3, seed=6)
    return model, x, model(x).argmax(1)


def check_outcomes(
    attack: Attack, threat: Threat, models: Sequence[tuple[int, torch.dtype]] = MODELS
) -> None:
    """On several nets, every point is allowed, every success replayable, and no point worse than clean.

    Args:
        attack: The attack.
        threat: A threat that it supports.
        models: Numbers of classes and types of inputs.

    Raises:
        AssertionError: If not.
    """
    for num_classes, dtype in models:
        x = random_inputs(9, 1, 4, 4, dtype=dtype)
        model = batch_invariant_net(16, num_classes, seed=num_classes)
        y = torch.randint(0, num_classes, (9,), generator=torch.Generator().manual_seed(2))
        outcome = attack(model, x, y, threat)
        check_points_allowed(outcome, x, threat)
        check_replayable(outcome, model, x, y, threat)
        check_never_worse(outcome, model, x, y)


def check_split(attack: Attack, threat: Threat, splits: Sequence[list[int]]) -> None:
    """Any split and order of the batch gives the same outcome, bit for bit.

    Args:
        attack: The attack.
        threat: A threat that it supports.
        splits: Sizes of the parts of ten examples, for each split; each is of another random order.

    Raises:
        AssertionError: If not.
    """
    x = random_inputs(10, 1, 4, 3, seed=8)
    model = batch_invariant_net(12, 3, seed=4)
    y = model(x).argmax(1)
    y[0] = (y[0] + 1) % 3
    check_split_of(partial(attack, model, threat=threat, seed=4), x, y, splits)


def check_split_of(run: partial[AttackOutcome], x: Tensor, y: Tensor, splits: Sequence[list[int]]) -> None:
    """As ``check_split``, on inputs of one's own.

    Args:
        run: The attack with its model, threat and seed.
        x, y: Inputs (B, *S) and their classes (B,).
        splits: Sizes of the parts, for each split.

    Raises:
        AssertionError: If not.
    """
    ids = torch.arange(len(x)) * 3 + 11
    whole = run(x=x, y=y, ids=ids)
    generator = torch.Generator().manual_seed(1)
    for sizes in splits:
        parts = torch.randperm(len(x), generator=generator).split(sizes)
        outcomes = [run(x=x[part], y=y[part], ids=ids[part]) for part in parts]
        back = torch.cat(parts).argsort()
        for name in OUTCOME_FIELDS:
            joined = torch.cat([getattr(outcome, name) for outcome in outcomes])[back]
            require_equal(
                joined, getattr(whole, name), f"the same {name} in parts of {sizes} as in one batch"
            )
        names = [name for outcome in outcomes for name in outcome.found_by]
        same = tuple(names[place] for place in back.tolist()) == whole.found_by
        require(same, f"the same found_by in parts of {sizes} as in one batch")


def check_queries_counted(attack: Attack, threat: Threat) -> None:
    """The forward passes add up to the inputs that the model saw, and gradients are no more than those.

    Args:
        attack: The attack.
        threat: A threat that it supports.

    Raises:
        AssertionError: If not.
    """
    net, x, y = small_task()
    model = RecordingModel(net)
    outcome = attack(model, x, y.roll(1), threat)
    counted = int(outcome.forwards.sum())
    require(counted == model.num_queries, f"{model.num_queries} queries, which the model saw", f"{counted}")
    require(outcome.backwards <= outcome.forwards, "no more gradients than queries")
    require(outcome.forwards >= 1, "at least one query for each example")


def check_max_queries(attack: Attack, threat: Threat, max_queries: int) -> None:
    """No example takes more queries than its budget, and the outcome still holds.

    Args:
        attack: The attack.
        threat: A threat that it supports.
        max_queries: The budget, 2 or more.

    Raises:
        AssertionError: If not.
    """
    model, x, y = small_task()
    outcome = attack(model, x, y, threat, max_queries=max_queries)
    require(outcome.forwards <= max_queries, f"at most {max_queries} queries", f"{outcome.forwards.tolist()}")
    check_points_allowed(outcome, x, threat)
    check_replayable(outcome, model, x, y, threat)


def check_targets(attack: Attack, threat: Threat) -> None:
    """A targeted success is predicted as its target; an attack that is untargeted only refuses targets.

    A clean input that is predicted as its target already is a success of size 0.

    Args:
        attack: The attack; whether it can be targeted is its ``supports_targets``.
        threat: A threat that it supports.

    Raises:
        AssertionError: If not.
    """
    model, x, y = small_task(14)
    targets = (y + 1 + torch.arange(14) % 2) % 3
    y[:2], targets[:2] = targets[:2].clone(), y[:2].clone()
    if not attack.supports_targets:
        try:
            attack(model, x, y, threat, targets=targets)
        except SettingError as error:
            require("is untargeted only" in str(error), "a message that it is untargeted only", str(error))
            return
        require(False, "targets to be refused with SettingError", "an outcome")
    outcome = attack(model, x, y, threat, targets=targets)
    check_points_allowed(outcome, x, threat)
    check_replayable(outcome, model, x, y, threat)
    success = outcome.success
    predicted = model(outcome.adversarial).argmax(1)
    require_equal(predicted[success], targets[success], "every success to be predicted as its target")
    require(success[:2], "an input that is predicted as its target already to count as a success")
    require(outcome.size[:2] == 0, "a success of size 0 where the clean input is predicted as its target")


def check_no_gradients(attack: Attack, threat: Threat) -> None:
    """An attack that says that it needs scores or labels asks for no gradient.

    Args:
        attack: An attack whose ``access`` is ``scores`` or ``labels``.
        threat: A threat that it supports.

    Raises:
        AssertionError: If it does.
    """
    x = random_inputs(6, 1, 4, 4)
    net = batch_invariant_net(16, 3, seed=1)
    outcome = attack(LimitedAccessModel(net, "scores"), x, net(x).argmax(1), threat)
    require(outcome.backwards == 0, f"no gradients, since it needs {attack.access} alone")


def check_labels_suffice(attack: Attack, threat: Threat) -> None:
    """An attack that says that it needs labels alone finds the same from a model that gives nothing else.

    Args:
        attack: An attack whose ``access`` is ``labels``.
        threat: A threat that it supports.

    Raises:
        AssertionError: If it does not.
    """
    model, x, y = small_task(8)
    full = attack(model, x, y, threat)
    limited = attack(LimitedAccessModel(model, "labels"), x, y, threat)
    for name in OUTCOME_FIELDS:
        require_equal(getattr(limited, name), getattr(full, name), f"the same {name} from labels alone")


def check_untouched(attack: Attack, threat: Threat, *, fail_at: int | None = None) -> None:
    """Weights, statistics, gradients, modes, inputs and global generator stay, also where the model fails.

    Args:
        attack: The attack.
        threat: A threat that it supports.
        fail_at: The call at which the model fails, from 1; none if not given.

    Raises:
        AssertionError: If not.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        net = FragileNet(fail_at).eval()
        first, *others = net.parameters()
        first.grad = torch.ones_like(first)
        x, y = random_inputs(6, 1, 3, 3, dtype=torch.float32), torch.zeros(6, dtype=torch.long)
        weights, clean, state = copy.deepcopy(net.state_dict()), x.clone(), torch.get_rng_state()
        follows_gradients, failed = torch.is_grad_enabled(), False
        try:
            attack(net, x, y, threat, seed=3)
        except InterruptedCallError:
            failed = True
        require(failed == (fail_at is not None), "the model's failure to be raised, and none without one")
        for name, value in net.state_dict().items():
            require_equal(value, weights[name], f"the same {name} as before")
        require_equal(x, clean, "the same inputs as before")
        require(not x.requires_grad, "inputs that need no gradient, as before")
        require_equal(torch.get_rng_state(), state, "the same state of torch's global generator as before")
        require(torch.is_grad_enabled() == follows_gradients, "the same gradient mode as before")
        require(first.grad is not None, "the gradient of the first weights to stay")
        require_equal(
            first.grad if first.grad is not None else x, torch.ones_like(first), "the same gradient"
        )
        require(all(weight.grad is None for weight in others), "no gradients on the other weights")
        require(all(weight.requires_grad for weight in net.parameters()), "weights that need gradients still")
        require(not any(module.training for module in net.modules()), "every module in evaluation mode")
