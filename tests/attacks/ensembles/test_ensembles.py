from dataclasses import replace

import pytest
import torch
from torch import Tensor

from quintain.attacks import APGD, DDN, FAB, PGD, AutoAttack, Ensemble, Quick, Square, Strongest
from quintain.attacks.ensembles.ensemble import EnsembleBase
from quintain.core.errors import DataError, ModelError, SettingError
from quintain.testing import (
    FragileNet,
    batch_invariant_net,
    check_points_allowed,
    check_replayable,
    random_inputs,
)
from quintain.threats import L1, L2, Linf

THREAT = Linf(0.08)
FOUR = Ensemble(
    (
        APGD(steps=5),
        APGD(steps=5, loss="dlr", target_classes=2),
        FAB(steps=5, target_classes=2, early_stop=True),
        Square(queries=40),
    )
)


def task(count: int = 60, classes: int = 4) -> tuple:
    x = random_inputs(count, 1, 4, 4, seed=3)
    model = batch_invariant_net(16, classes, seed=5)
    return model, x, model(x).argmax(1)


def names(attack: EnsembleBase, classes: int, threat: Linf | L2 | L1 = THREAT) -> list[str]:
    return [member.label for member in attack.plan(threat, classes)]


def test_only_survivors_go_on_and_each_break_is_credited() -> None:
    model, x, y = task()
    y[:3] = (y[:3] + 1) % 4
    seen: list[int] = []

    def counted(z: Tensor) -> Tensor:
        seen.append(len(z))
        return model(z)

    first = PGD(steps=1, rel_step_size=0.5)
    outcome = Ensemble((first, APGD(steps=5, loss="dlr", target_classes=3)))(counted, x, y, THREAT)
    assert sum(seen) == int(outcome.forwards.sum())
    assert outcome.found_by[:3] == ("unchanged",) * 3
    assert set(outcome.found_by) == {"unchanged", "pgd", "apgd-t", ""}
    check_points_allowed(outcome, x, THREAT)
    check_replayable(outcome, model, x, y, THREAT)
    by_first = torch.tensor([name == "pgd" for name in outcome.found_by])
    assert (outcome.forwards[by_first] <= 1 + 2 + 1).all()
    assert (outcome.forwards[~outcome.success] == 1 + 2 + 3 * 6).all()


def test_the_union_is_at_least_each_member_and_the_clean_question_is_asked_once() -> None:
    _, x, _ = task(8)
    y = torch.zeros(8, dtype=torch.long)
    stubborn = batch_invariant_net(16, 4, seed=5, lead=60.0)
    outcome = FOUR(stubborn, x, y, THREAT)
    assert not outcome.success.any()
    assert outcome.backwards.tolist() == [5 * 5] * 8
    assert outcome.forwards.tolist() == [1 + 6 + 12 + 12 + 40] * 8


def test_the_order_of_examples_does_not_matter_and_two_members_of_one_kind_draw_apart() -> None:
    _, x, _ = task(8)
    y = torch.zeros(8, dtype=torch.long)
    stubborn = batch_invariant_net(16, 4, seed=5, lead=60.0)
    seen: list[Tensor] = []

    def watched(z: Tensor) -> Tensor:
        seen.append(z.detach().clone())
        return stubborn(z)

    Ensemble((PGD(steps=1), PGD(steps=1)))(watched, x, y, THREAT)
    assert not torch.equal(seen[1], seen[3])
    assert len(seen) == 5


def test_what_is_proven_safe_is_never_asked() -> None:
    model, x, y = task()
    safe = torch.arange(60) % 3 == 0
    asked: list[Tensor] = []

    def watched(z: Tensor) -> Tensor:
        asked.append(z.detach())
        return model(z)

    outcome = FOUR(watched, x, y, THREAT, certified=safe)
    plain = FOUR(model, x, y, THREAT)
    assert outcome.forwards[safe].sum() == 0
    assert not outcome.success[safe].any()
    assert torch.equal(outcome.adversarial[safe], x[safe])
    assert outcome.size[safe].isinf().all()
    for name in ("adversarial", "success", "size", "forwards", "backwards", "queries_to_success"):
        assert torch.equal(getattr(outcome, name)[~safe], getattr(plain, name)[~safe]), name
    assert [by for by, skip in zip(outcome.found_by, safe.tolist(), strict=True) if not skip] == [
        by for by, skip in zip(plain.found_by, safe.tolist(), strict=True) if not skip
    ]
    assert FOUR(model, x, y, THREAT, certified=torch.ones(60, dtype=torch.bool)).forwards.sum() == 0
    with pytest.raises(DataError, match=r"certified of shape \(3,\)"):
        FOUR(model, x, y, THREAT, certified=torch.ones(3, dtype=torch.bool))


def test_a_budget_is_carried_from_member_to_member() -> None:
    model, x, y = task()
    stubborn = batch_invariant_net(16, 4, seed=5, lead=60.0)
    for queries in (2, 5, 9, 22):
        assert (FOUR(stubborn, x, torch.zeros_like(y), THREAT, max_queries=queries).forwards <= queries).all()
    assert (FOUR(model, x, y, THREAT, max_queries=9).forwards <= 9).all()


def test_an_error_ends_an_example_for_all_members() -> None:
    model, x, y = task(10)
    outcome = FOUR(
        lambda z: torch.where((z[:, 0, 0, :1] - x[:1, 0, 0, :1]).abs() < 1e-12, torch.nan, model(z)),
        x,
        y,
        THREAT,
    )
    assert outcome.error[0]
    assert outcome.forwards[0] == 1
    assert not outcome.success[0]


def test_a_break_that_cannot_be_reproduced_leaves_the_example_to_the_next() -> None:
    x = torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64)
    calls = [0]

    def fickle(z: Tensor) -> Tensor:
        calls[0] += 1
        lied = calls[0] == 2
        return torch.stack(
            [torch.zeros(len(z), dtype=z.dtype), (z * 0).flatten(1).sum(1) + (1.0 if lied else -1.0)], 1
        )

    outcome = Ensemble((PGD(steps=2), PGD(steps=2)))(fickle, x, torch.zeros(1, dtype=torch.long), THREAT)
    assert not outcome.success.any()
    assert outcome.found_by == ("",)
    assert calls[0] == 6


def test_the_published_plans() -> None:
    assert names(AutoAttack(), 10) == ["apgd-ce", "apgd-t", "fab", "square"]
    assert names(AutoAttack("plus"), 10) == ["apgd-ce", "apgd-dlr", "apgd-t", "fab", "square"]
    assert names(AutoAttack("rand"), 10) == ["apgd-ce", "apgd-dlr"]
    ce, aimed, fab, square = AutoAttack().plan(THREAT, 10)
    assert (ce.restarts, aimed.target_classes, fab.early_stop, square.queries) == (1, 9, True, 5000)
    ce, aimed, fab = AutoAttack().plan(L1(5.0), 10)[:3]
    assert (ce.restarts, aimed.target_classes) == (5, 5)
    assert [member.restarts for member in AutoAttack("plus").plan(THREAT, 10)] == [5, 5, 1, 5, 1]


def test_in_l2_alone_ddn_is_a_member_and_the_others_keep_their_places() -> None:
    """The place of a member is part of its random streams."""
    assert names(Quick(), 10) == ["apgd-margin", "apgd-ce", "square", "apgd-t"]
    assert names(Quick(), 10, L1(5.0)) == ["apgd-margin", "apgd-ce", "fab", "apgd-t"]
    assert names(Quick(), 10, L2(0.5)) == ["apgd-margin", "ddn", "square", "apgd-t"]
    assert names(Quick(), 2) == ["apgd-margin", "square", "apgd-margin"]
    assert names(Quick(), 2, L2(0.5)) == ["apgd-margin", "ddn", "square", "apgd-margin"]
    for attack, members in ((AutoAttack(), []), (Strongest(), ["ddn"])):
        in_l2, in_linf = names(attack, 10, L2(0.5)), names(attack, 10)
        assert in_l2[: len(in_linf)] == in_linf
        assert in_l2[len(in_linf) :] == members
        assert "ddn" not in names(attack, 10, L1(5.0))


def astray(x: Tensor, classes: int) -> Tensor:
    """Logits (B, K) that rise far away along one pixel, and near the inputs along others, to no avail."""
    flat = x.flatten(1)
    far = 20 * (flat[:, :1] - 0.5).relu() + 1e-5 * flat[:, :1]
    near = 0.01 * flat[:, 32:].sum(1, keepdim=True)
    return torch.cat((torch.ones_like(far), far + near, *[torch.zeros_like(far)] * (classes - 2)), 1)


@pytest.mark.parametrize("classes", [2, 3])
def test_gradients_that_lead_astray_inside_an_l2_ball_do_not_save_a_net(classes: int) -> None:
    x, y, threat = 0.15 + 0.1 * random_inputs(8, 1, 8, 8, seed=3), torch.zeros(8, dtype=torch.long), L2(0.5)
    broken = {
        name: attack(lambda z: astray(z, classes), x, y, threat).success
        for name, attack in {
            "runs inside": Ensemble((APGD(steps=20, loss="margin", restarts=2), Square(queries=40))),
            "ddn": DDN(steps=20),
            "quick": Quick(steps=20, queries=40),
            "strongest": Strongest(steps=20, target_classes=2, queries=40),
        }.items()
    }
    assert not broken.pop("runs inside").any()
    assert all(success.all() for success in broken.values())


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_few_classes_get_a_plan_of_full_strength(classes: int) -> None:
    members = AutoAttack().plan(THREAT, classes)
    climbs = sum(
        member.restarts * max(1, member.target_classes) for member in members if isinstance(member, APGD)
    )
    assert climbs == (10 if classes == 2 else classes)
    for attack in (AutoAttack(), AutoAttack("plus"), AutoAttack("rand"), Quick(), Strongest()):
        assert all(getattr(member, "targets", 0) < classes for member in attack.plan(THREAT, classes))


@pytest.mark.parametrize(
    ("classes", "threat"),
    [
        (2, Linf(0.05)),
        (3, L1(0.5)),
        (4, L2(0.15)),
        pytest.param(10, Linf(0.05), marks=pytest.mark.exhaustive),
        pytest.param(2, L2(0.15), marks=pytest.mark.exhaustive),
    ],
)
def test_quick_is_nearly_standard_at_a_part_of_the_cost(classes: int, threat: Linf | L2 | L1) -> None:
    model, x, y = task(24, classes)
    short, long = (
        Quick(steps=40, queries=40)(model, x, y, threat),
        AutoAttack(steps=40, queries=120)(model, x, y, threat),
    )
    assert 0 < long.success.sum() < 24
    assert (long.success & ~short.success).sum() <= 1
    assert short.backwards.sum() < long.backwards.sum()
    assert short.forwards.sum() < long.forwards.sum() / 2


def test_a_model_that_answers_at_random_is_averaged_and_every_draw_is_counted() -> None:
    model, x, y = task(12)
    seen, generator = [0], torch.Generator().manual_seed(0)

    def random(z: Tensor) -> Tensor:
        seen[0] += len(z)
        logits = model(z)
        return logits + 0.3 * torch.randn(logits.shape, generator=generator, dtype=logits.dtype)

    outcome = replace(AutoAttack("rand"), steps=10)(random, x, y, Linf(0.2))
    assert int(outcome.forwards.sum()) == seen[0]
    assert (outcome.forwards % 20 == 0).all()
    assert outcome.success.sum() > 6


def test_what_cannot_be_attacked_is_refused_before_much_is_asked() -> None:
    model, x, y = task(3)
    with pytest.raises(ModelError, match="training mode"):
        AutoAttack("rand")(FragileNet(), random_inputs(2, 1, 3, 3), torch.zeros(2, dtype=torch.long), THREAT)
    with pytest.raises(SettingError, match="does not support"):
        FOUR(model, x, y, replace(L1(0.5)))
    with pytest.raises(SettingError, match="version = 'best'; expected one of standard, plus, rand"):
        AutoAttack("best")
    for members in ((), PGD(), ("pgd",), (PGD,)):
        with pytest.raises(SettingError, match=r"members = .*; expected at least one attack"):
            Ensemble(members)

    class Scores:
        access = "scores"

        def __call__(self, z: Tensor) -> Tensor:
            return model(z).detach()

    with pytest.raises(ModelError, match="apgd needs gradients"):
        FOUR(Scores(), x, y, THREAT)
    assert Ensemble((Square(queries=5),))(Scores(), x, y, THREAT).forwards.sum() > 0
