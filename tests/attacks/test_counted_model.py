import pytest
import torch
from torch import Tensor, nn

from quintain.attacks import FGSM
from quintain.attacks.counted_model import CountedModel
from quintain.core.errors import ModelError, SettingError
from quintain.losses import margin
from quintain.threats import Linf


def test_rows_are_counted_each() -> None:
    meter = CountedModel(lambda z: z[:, :2] * 2, torch.zeros(4, dtype=torch.long))
    meter.logits(torch.rand(3, 2), torch.tensor([0, 0, 2]))
    labels = torch.tensor([0, 0, 1, 0])
    logits, values, gradient = meter.value_and_grad(
        torch.rand(2, 2), torch.tensor([3, 2]), lambda logits, rows: margin(logits, labels[rows])
    )
    assert meter.forwards.tolist() == [2, 0, 2, 1]
    assert meter.backwards.tolist() == [0, 0, 1, 1]
    assert gradient.tolist() == [[-2.0, 2.0], [2.0, -2.0]]
    assert not logits.requires_grad
    assert not values.requires_grad


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (lambda z: {"logits": z}, r"returns dict for images \(3, 2\)"),
        (lambda z: z[:, 0], r"expected floating-point logits \(3, K\)"),
        (lambda z: z[:1], r"expected floating-point logits \(3, K\)"),
        (lambda z: z.long(), "int64"),
        (lambda z: z[:, :1], "one logit"),
        (lambda z: z[:, :2].detach(), "no gradient.*--attack square.*hopskipjump.*labels:file.py"),
        (lambda z: (z[:, :2] > 0.5).float(), "no gradient"),
        (nn.Linear(2, 2).train(), "training mode"),
        (nn.Sequential(nn.Linear(2, 2).eval(), nn.Dropout().train()).requires_grad_(True), "training mode"),
    ],
)
def test_what_is_no_model_is_refused(model, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        FGSM()(model, torch.full((3, 2), 0.7), torch.ones(3, dtype=torch.long) * 0, Linf(0.1))


def test_a_scaled_model_is_asked_for_input_gradients_only() -> None:
    net = nn.Linear(2, 2).eval()
    meter = CountedModel(net, torch.zeros(3, dtype=torch.long))
    meter.value_and_grad(torch.rand(3, 2), torch.arange(3), lambda logits, rows: logits.sum(1))
    assert all(weight.grad is None for weight in net.parameters())


def test_answers_without_slope_build_no_graph() -> None:
    seen: list[bool] = []

    def watching(z: Tensor) -> Tensor:
        seen.append(torch.is_grad_enabled())
        return z[:, :2]

    CountedModel(watching, torch.zeros(1, dtype=torch.long)).logits(torch.rand(1, 2), torch.tensor([0]))
    assert seen == [False]


def test_more_questions_than_the_budget_are_refused() -> None:
    meter = CountedModel(lambda z: z[:, :2], torch.zeros(2, dtype=torch.long), max_queries=2)
    meter.logits(torch.rand(2, 2), torch.arange(2))
    meter.logits(torch.rand(1, 2), torch.tensor([1]))
    assert meter.queries_left(torch.arange(2)).tolist() == [1, 0]
    with pytest.raises(SettingError, match="max_queries = 2 forward passes"):
        meter.logits(torch.rand(2, 2), torch.arange(2))


def test_a_gradient_that_does_not_reach_the_points_is_none():
    table, last = nn.Embedding(16, 4), nn.Linear(8, 2)
    with torch.no_grad():  # class 0 everywhere
        last.bias.copy_(torch.tensor([1e3, -1e3]))

    def embedded(z: Tensor) -> Tensor:
        return last(table((z * 15).round().long()).flatten(1))

    with pytest.raises(ModelError, match=r"gives no gradient.*--attack square"):
        FGSM()(embedded, torch.full((3, 2), 0.7), torch.zeros(3, dtype=torch.long), Linf(0.1))
