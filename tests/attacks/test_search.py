import torch

from quintain.attacks import Goal
from quintain.attacks.search import is_valid_success
from quintain.threats import Linf

LOGITS = torch.tensor([[1.0, 2.0], [1.0, 1.0], [1.0, 1.0], [torch.nan, 0.0], [0.0, torch.inf]])


def test_the_answer_is_the_first_largest_and_nan_is_none() -> None:
    goal = Goal(torch.tensor([0, 0, 1, 0, 0]))
    assert goal.is_adversarial(LOGITS, torch.arange(5)).tolist() == [True, False, True, False, True]


def test_a_target_must_be_answered() -> None:
    goal = Goal(torch.tensor([0, 1, 0, 0, 0]), torch.tensor([1, 0, 1, 1, 1]))
    assert goal.is_adversarial(LOGITS, torch.arange(5)).tolist() == [True, True, False, False, True]


def test_the_margin_says_the_same_but_for_ties() -> None:
    logits = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    y, rows = torch.arange(200) % 4, torch.arange(200)
    for goal in (Goal(y), Goal(y, (y + 1) % 4)):
        assert torch.equal(goal.margin(logits, rows) > 0, goal.is_adversarial(logits, rows))


def test_a_break_is_wrong_and_inside() -> None:
    x = torch.tensor([[0.5], [0.5], [0.5], [0.95]])
    z = torch.tensor([[0.55], [0.55], [0.65], [1.01]])
    assert is_valid_success(torch.tensor([True, False, True, True]), z, x, Linf(0.1)).tolist() == [
        True,
        False,
        False,
        False,
    ]
