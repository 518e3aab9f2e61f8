import torch

from quintain.attacks.verdict import breaks, fooled
from quintain.threats import Linf


def test_the_answer_is_the_first_largest_and_nan_is_none() -> None:
    logits = torch.tensor([[1.0, 2.0], [1.0, 1.0], [1.0, 1.0], [torch.nan, 0.0], [0.0, torch.inf]])
    assert fooled(logits, torch.tensor([0, 0, 1, 0, 0])).tolist() == [True, False, True, False, True]


def test_a_break_is_wrong_and_inside() -> None:
    x = torch.tensor([[0.5], [0.5], [0.5], [0.95]])
    z = torch.tensor([[0.55], [0.55], [0.65], [1.01]])
    logits = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert breaks(logits, z, x, torch.zeros(4, dtype=torch.long), Linf(0.1)).tolist() == [True, False, False, False]
