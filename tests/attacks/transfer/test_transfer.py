from functools import partial

import pytest
import torch
from torch import Tensor, nn

from quintain.attacks import DDN, MIFGSM, PGD, Ensemble, Transfer
from quintain.core.errors import ModelError, SettingError
from quintain.testing import (
    SPLITS,
    FragileNet,
    batch_invariant_net,
    check_max_queries,
    check_never_worse,
    check_points_allowed,
    check_queries_counted,
    check_replayable,
    check_split_of,
    check_targets,
    check_untouched,
    random_inputs,
)
from quintain.threats import L1, L2, Linf

THREAT = Linf(0.1)
ATTACK = Transfer((batch_invariant_net(16, 3, seed=7), batch_invariant_net(16, 3, seed=8)))


def task(count: int = 40, *, classes: int = 3) -> tuple[object, Tensor, Tensor]:
    x = random_inputs(count, 1, 4, 4, seed=1)
    model = batch_invariant_net(16, classes, seed=6)
    return model, x, model(x).argmax(1)


def test_its_outcomes_keep_the_laws() -> None:
    model, x, y = task(10)
    for threat in (THREAT, L2(0.6)):
        check_split_of(partial(ATTACK, model, threat=threat, seed=4), x, y, SPLITS["uneven"])
        check_queries_counted(ATTACK, threat)
        check_targets(ATTACK, threat)
        for queries in (2, 3, 4):
            check_max_queries(ATTACK, threat, queries)
        outcome = ATTACK(model, x, y, threat)
        check_points_allowed(outcome, x, threat)
        check_replayable(outcome, model, x, y, threat)
        check_never_worse(outcome, model, x, y)


def test_no_model_is_touched() -> None:
    surrogate = FragileNet().eval()
    before = {name: value.clone() for name, value in surrogate.state_dict().items()}
    check_untouched(Transfer((surrogate,)), THREAT, fail_at=None)
    assert all(torch.equal(value, before[name]) for name, value in surrogate.state_dict().items())
    assert all(weight.grad is None for weight in surrogate.parameters())


def test_the_target_is_asked_once_beside_the_clean_input_and_the_check() -> None:
    model, x, y = task()
    outcome = ATTACK(model, x, y, THREAT)
    assert outcome.success.any()
    assert not outcome.success.all()
    assert torch.equal(outcome.forwards, 2 + outcome.success.long())
    assert (outcome.backwards == 0).all()
    assert (outcome.queries_to_success[outcome.success] == 2).all()


def test_labels_are_all_that_it_needs() -> None:
    model, x, y = task()

    class Labels:
        access = "labels"

        def __call__(self, z: Tensor) -> Tensor:
            return nn.functional.one_hot(model(z).argmax(1), 3).to(z.dtype)

    assert torch.equal(ATTACK(Labels(), x, y, THREAT).success, ATTACK(model, x, y, THREAT).success)


def test_its_own_target_as_the_surrogate_is_the_attack_to_its_end() -> None:
    model, x, y = task()
    alone, itself = PGD(steps=20)(model, x, y, THREAT), Transfer((model,), PGD(steps=20))(model, x, y, THREAT)
    assert (itself.success >= alone.success).double().mean() > 0.95
    lead = lambda z: (  # noqa: E731
        model(z).scatter(1, y[:, None], -torch.inf).amax(1) - model(z).gather(1, y[:, None])[:, 0]
    )
    assert (
        lead(itself.adversarial)[alone.success].mean() > lead(alone.adversarial)[alone.success].mean() + 0.05
    )


def test_two_surrogates_are_one_model_of_mean_logits() -> None:
    model, x, y = task()
    first, second = ATTACK.surrogates
    mean = Transfer((lambda z: (first(z) + second(z)) / 2,))
    assert torch.equal(mean(model, x, y, THREAT).adversarial, ATTACK(model, x, y, THREAT).adversarial)


def test_a_surrogate_that_is_wrong_at_first_is_climbed_all_the_same() -> None:
    model, x, y = task()
    wrong = Transfer((lambda z: model(z).roll(1, 1),))(model, x, y, THREAT)
    assert not torch.equal(wrong.adversarial, x)


def test_it_may_stand_in_an_ensemble() -> None:
    model, x, y = task()
    outcome = Ensemble((ATTACK, PGD(steps=5)))(model, x, y, THREAT)
    assert {"transfer", "pgd"} <= set(outcome.found_by)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(SettingError, match="no surrogates"):
        Transfer(())
    with pytest.raises(SettingError, match="ddn seeks the smallest change"):
        Transfer((batch_invariant_net(16, 3),), DDN())
    with pytest.raises(ModelError, match="training mode"):
        Transfer((nn.Sequential(nn.Flatten(), nn.Linear(16, 3)),))
    with pytest.raises(ModelError, match="the surrogates have 4 classes and the target model 3"):
        Transfer((batch_invariant_net(16, 4),))(*task(), THREAT)
    with pytest.raises(SettingError, match="mi-fgsm does not support the threat l1"):
        Transfer((batch_invariant_net(16, 3),), MIFGSM())(*task(), L1(1.0))
