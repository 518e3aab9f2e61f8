import pytest

from quintain.attacks import PGD
from quintain.attacks.goal import LOSSES
from quintain.core.errors import SettingError
from quintain.testing import batch_invariant_net, random_inputs
from quintain.threats import L1, L2, Linf

COUNTS, BALLS = (2, 3, 4, 10), (Linf(0.15), L2(0.8), L1(2.5))
CASES = [
    (loss, classes, bool((row + column) % 2), BALLS[(row + column) % 3])
    for row, loss in enumerate(LOSSES)
    for column, classes in enumerate(COUNTS)
]
"""Each loss with each number of classes, with and without targets, and in each ball; each ball with and
without targets.
"""


@pytest.mark.parametrize(("loss", "classes", "targeted", "threat"), CASES, ids=str)
def test_every_loss_breaks_what_random_points_do_not(
    loss: str, classes: int, targeted: bool, threat: Linf | L2 | L1
) -> None:
    x = random_inputs(40, 1, 4, 4, seed=1)
    model = batch_invariant_net(16, classes, seed=classes)
    y = model(x).argmax(1)
    targets = (y + 1) % classes if targeted else None
    outcome = PGD(steps=15, loss=loss)(model, x, y, threat, targets=targets)
    none = PGD(steps=15, loss=loss)(model, x, y, type(threat)(1e-3), targets=targets)
    assert outcome.success.double().mean() >= (0.15 if targeted else 0.5)
    assert none.success.sum() < outcome.success.sum() / 2
    answers = model(outcome.adversarial).argmax(1)[outcome.success]
    assert (answers == targets[outcome.success]).all() if targeted else (answers != y[outcome.success]).all()


@pytest.mark.parametrize("loss", ["margin", "dlr", "ce"])
def test_scaled_logits_change_no_verdict(loss: str) -> None:
    x = random_inputs(40, 1, 4, 4, seed=1)
    model = batch_invariant_net(16, 4, seed=2)
    y = model(x).argmax(1)
    once, large = (
        PGD(steps=15, loss=loss)(lambda z: scale * model(z), x, y, Linf(0.1))  # noqa: B023
        for scale in (1.0, 1024.0)
    )
    assert once.success.any()
    assert not once.success.all()
    assert (once.success == large.success).double().mean() >= (0.9 if loss == "ce" else 1.0)


def test_a_loss_that_there_is_not_is_refused_at_once() -> None:
    with pytest.raises(SettingError, match=r"loss = 'hinge'; expected one of margin, ce, dlr, probability"):
        PGD(loss="hinge")
