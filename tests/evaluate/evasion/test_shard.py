"""The attacks of one process: smallest changes, budgets, and batches without work."""

import pytest
import torch

from quintain.attacks import FAB, PGD
from quintain.data.dataset import from_arrays
from quintain.evaluate.evasion.attack_chunk import minimize_by_bisection
from quintain.threats import L2, Linf
from tests.evaluate.support.attacked import ATTACKS, SIZES, counted, net, points, run


def test_the_curve_over_sizes_is_that_of_the_closed_form():
    weight = net()[1].weight.detach().diff(dim=0).squeeze().double()
    data = points()
    x, _y = data.batch(range(len(data)))
    lead = net()(x).detach().diff(dim=1).squeeze(1).double().abs()
    found = run(threats=[Linf(0.1)]).examples.broken_radius
    inside = [
        row
        for row, radius in enumerate(found)
        if 0 < radius < 0.1 and float(x[row].min()) > 0.1 and float(x[row].max()) < 0.9
    ]
    assert inside
    for row in inside:
        assert found[row] == pytest.approx(float(lead[row] / weight.abs().sum()), abs=0.1 / 2**10)


def test_bisection_finds_the_boundary_on_its_way_and_believes_no_point_that_it_did_not_ask():
    x, z = torch.zeros(2, 3), torch.tensor([[0.8, 0.0, 0.0], [0.4, 0.4, 0.4]])

    def model(points):
        return torch.stack(
            (torch.zeros(len(points)), points.sum(1) - 0.3, torch.full((len(points),), -9.0)), 1
        )

    y = torch.zeros(2, dtype=torch.long)
    assert minimize_by_bisection(model, x, y, z, Linf(1.0))[0].tolist() == pytest.approx(
        [0.3, 0.1], abs=0.81 / 2**10
    )
    assert minimize_by_bisection(model, x, y, z, L2(1.0))[0].tolist() == pytest.approx(
        [0.3, 0.1 * 3**0.5], abs=0.81 / 2**10
    )
    nothing, questions = minimize_by_bisection(model, x, y, z, Linf(1.0), targets=torch.tensor([2, 2]))
    assert nothing.tolist() == pytest.approx([0.8, 0.4])
    assert questions.tolist() == [2, 2]


def test_a_search_for_the_smallest_change_is_run_once_and_answers_for_every_size():
    found, grid = run(attacks={"fab": FAB()}), run(attacks={"pgd": PGD(steps=30)})
    assert [row.unbroken_counts for row in found.rows] == [row.unbroken_counts for row in grid.rows]
    assert [row.forwards > 0 for row in found.rows] == [False, False, True]


def test_a_budget_holds_for_each_attack_and_size():
    found = run(max_queries=3)
    assert max(found.break_log.forwards) <= 3 * len(SIZES) * len(ATTACKS)
    assert all(row.forwards <= 3 for row in found.rows)


def test_a_batch_in_which_all_are_wrong_already_is_no_work():
    x = points().batch(range(32))[0]
    labels = net()(x).argmax(1).numpy()
    labels[:16] = 1 - labels[:16]
    made: list[tuple] = []
    found = run(data=from_arrays(x.numpy(), labels, num_classes=2), attacks=counted(made))
    assert {one for _, _, ids in made for one in ids} == set(range(16, 32))
    assert found.break_log.found_by[:16] == ("unchanged",) * 16
