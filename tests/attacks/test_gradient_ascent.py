from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from quintain.attacks import PGD, Attack, Search, gradient_ascent
from quintain.attacks.search import Evaluation
from quintain.core.errors import DataError, ModelError, SettingError
from quintain.testing import batch_invariant_net, random_inputs
from quintain.threats import Linf, parse

THREAT = Linf(0.1)


def labels(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.long)


@dataclass(frozen=True)
class Scripted(Attack):
    """An attack that starts at the clean point and follows a rule."""

    name: ClassVar[str] = "scripted"
    rule: Callable[[int, Tensor, Tensor, Tensor, tuple[Tensor, ...]], Tensor]
    steps: int

    def run(self, search: Search) -> None:
        def update(
            step: int, state: tuple[Tensor], out: Evaluation, clean: Tensor, cache: tuple[Tensor, ...]
        ) -> tuple[Tensor]:
            return (self.rule(step, state[0], out.gradient, clean, cache),)

        loss = search.goal.margin
        gradient_ascent(
            search,
            rng=search.rng,
            init=lambda clean, rng, cache: (clean,),
            update=update,
            steps=self.steps,
            loss=loss,
        )


def test_the_rule_sees_only_what_stands_with_its_own_room() -> None:
    x = torch.tensor([[0.49], [0.512], [0.522], [0.532], [0.542], [0.552]], dtype=torch.float64)
    sizes = []

    def line(z: Tensor) -> Tensor:
        return torch.cat([0.6 + 0 * z, z], 1)

    def rule(step: int, z: Tensor, gradient: Tensor, clean: Tensor, room: tuple[Tensor, ...]) -> Tensor:
        sizes.append(len(z))
        assert all(torch.equal(part, bound) for part, bound in zip(room, THREAT.bounds(clean), strict=True))
        assert (gradient == 1).all()
        return THREAT.project(z + 0.03, clean, room)

    outcome = Scripted(rule, 4)(line, x, labels(6), THREAT)
    assert outcome.success.tolist() == [False, True, True, True, True, True]
    assert sizes == [6, 6, 4, 1]
    assert outcome.backwards.tolist() == [4, 4, 4, 4, 3, 3]
    assert outcome.forwards.tolist() == [6, 6, 6, 6, 5, 5]
    assert outcome.queries_to_success.tolist() == [0, 5, 5, 5, 4, 4]
    assert outcome.found_by == ("", *["scripted"] * 5)


def test_the_best_point_is_kept_and_not_the_last() -> None:
    x = torch.full((1, 1), 0.5, dtype=torch.float64)
    path = iter([0.58, 0.45])

    def line(z: Tensor) -> Tensor:
        return torch.cat([9 + 0 * z, z], 1)

    outcome = Scripted(lambda step, z, *_: torch.full_like(z, next(path)), 2)(line, x, labels(1), THREAT)
    assert outcome.adversarial.item() == 0.58


def test_an_error_on_the_way_ends_the_example_alone() -> None:
    x = torch.tensor([[0.5], [0.2]], dtype=torch.float64)

    def cliff(z: Tensor) -> Tensor:
        return torch.cat([9 + 0 * z, torch.where(z > 0.55, torch.nan, z)], 1)

    outcome = PGD(steps=10)(cliff, x, labels(2), THREAT)
    assert outcome.error.tolist() == [True, False]
    assert outcome.success.tolist() == [False, False]
    assert outcome.backwards[0] < outcome.backwards[1] == 10
    assert (outcome.adversarial[0] <= 0.55).all()


def test_a_tie_counts_as_the_models_answer_does() -> None:
    x = random_inputs(2, 3)
    outcome = PGD(steps=2)(lambda z: 0 * z[:, :2], x, torch.tensor([0, 1]), THREAT)
    assert outcome.success.tolist() == [False, True]


def test_a_plain_function_is_a_model() -> None:
    x = random_inputs(5, 4)
    net = batch_invariant_net(4, 3)
    outcome = PGD(steps=5)(lambda z: torch.log_softmax(net(z), 1), x, net(x).argmax(1), THREAT)
    assert outcome.adversarial.shape == x.shape


def test_inputs_are_not_shared_with_the_outcome() -> None:
    x = random_inputs(3, 4)
    outcome = PGD(steps=1)(batch_invariant_net(4, 3, lead=50.0), x, labels(3), Linf(0.0))
    outcome.adversarial.fill_(7)
    assert (x <= 1).all()


@pytest.mark.parametrize(
    ("x", "y", "complaint"),
    [
        (torch.full((2, 3), 1.5), labels(2), "expected \\[0, 1\\]"),
        (torch.rand(2, 3), labels(3), "one class per input"),
        (torch.rand(2, 3), torch.zeros(2), "one class per input"),
        (torch.rand(2, 3), torch.tensor([0, 5]), "expected 0 to 1"),
        (torch.rand(2, 3), torch.tensor([0, -1]), "expected 0 to 1"),
    ],
)
def test_bad_data_is_refused(x: Tensor, y: Tensor, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        PGD(steps=1)(lambda z: z[:, :2], x, y, THREAT)


def test_targets_are_classes_that_would_be_wrong() -> None:
    x, y = torch.rand(3, 4), labels(3)
    with pytest.raises(DataError, match="example 1 has target 0, its own label"):
        PGD(steps=1)(lambda z: z, x, y, THREAT, targets=torch.tensor([1, 0, 2]))
    with pytest.raises(DataError, match="targets of shape"):
        PGD(steps=1)(lambda z: z, x, y, THREAT, targets=torch.tensor([1, 2]))


def test_a_model_that_gives_scores_alone_names_the_attacks_that_can() -> None:
    class Scores:
        access = "scores"

        def __call__(self, z: Tensor) -> Tensor:
            return z[:, :2]

    with pytest.raises(
        ModelError, match=r"pgd needs gradients, and the model gives scores only\. Attacks that can:"
    ):
        PGD(steps=1)(Scores(), torch.rand(2, 3), labels(2), THREAT)


def test_a_budget_too_small_to_say_anything_is_refused() -> None:
    with pytest.raises(SettingError, match="queries = 1; expected at least 2"):
        PGD(steps=1)(lambda z: z, torch.rand(2, 3), labels(2), parse("linf:0.1"), max_queries=1)


def test_a_model_that_asks_itself_twice_is_counted_twice() -> None:
    class Averaged:
        queries_per_call = 2

        def __call__(self, z: Tensor) -> Tensor:
            return torch.cat([9 + 0 * z, z], 1)

    outcome = PGD(steps=3)(Averaged(), torch.full((1, 1), 0.5), labels(1), THREAT)
    assert outcome.forwards.tolist() == [10]
    assert outcome.backwards.tolist() == [6]
    assert PGD(steps=3)(
        Averaged(), torch.full((1, 1), 0.5), labels(1), THREAT, max_queries=7
    ).forwards.tolist() == [4]
