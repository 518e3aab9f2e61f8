"""The boundary on a path, its normal by votes, and the first broken point."""

import math

import pytest
import torch

from quintain.attacks.decision_based import decision_boundary as module
from quintain.attacks.decision_based.decision_boundary import DecisionBoundary, coarsen, segment_path
from quintain.attacks.goal import Goal
from quintain.attacks.search import Search
from quintain.threats import L2, ExampleRNG


def line(w, bias=0.0):
    return lambda z: torch.stack([torch.zeros(len(z), dtype=z.dtype), z.flatten(1) @ w.to(z.dtype) + bias], 1)


def boundary_of(model, x, *, questions=10_000, early=False, eps=9.0, queries=None, ids=None):
    draw = ExampleRNG(3, torch.arange(len(x)) if ids is None else ids)
    goal = Goal(torch.zeros(len(x), dtype=torch.long))
    return DecisionBoundary(
        Search(model, x, goal, L2(eps), draw, name="test", minimum_norm=True, max_queries=queries),
        questions,
        early,
    )


def test_the_last_broken_point_of_a_segment_is_found_to_the_tolerance():
    x, z = torch.zeros(3, 4, dtype=torch.float64), torch.ones(3, 4, dtype=torch.float64)
    boundary = boundary_of(line(torch.ones(4), -torch.pi / 2), x)
    near = boundary.binary_search(segment_path(z, x), torch.arange(3), 1e-6)
    assert (near.sum(1) > torch.pi / 2).all()
    assert (near.sum(1) < torch.pi / 2 + 4e-6).all()
    assert (boundary.search.model.forwards == 23).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_a_tolerance_it_ends_where_floating_point_does(dtype):
    x, z = torch.zeros(1, 4, dtype=dtype), torch.ones(1, 4, dtype=dtype)
    boundary = boundary_of(line(torch.ones(4), -2.7), x)
    near = boundary.binary_search(segment_path(z, x), torch.arange(1), 0.0)
    assert near.sum() == pytest.approx(2.7, abs=1e-6)
    assert int(boundary.search.model.forwards) < 60


def test_a_path_that_does_not_move_asks_nothing():
    x = torch.full((2, 3), 0.5)
    boundary = boundary_of(line(torch.ones(3), -9.0), x)
    assert torch.equal(boundary.binary_search(segment_path(x, x), torch.arange(2), 0.0), x)
    assert (boundary.search.model.forwards == 1).all()


def votes(boundary, z, count, *, rows=None, radius=0.05):
    rows = torch.arange(len(z)) if rows is None else rows
    return boundary.estimate_normal(
        z,
        rows,
        torch.full((len(z),), radius, dtype=torch.float64),
        count,
        boundary.search.rng.fold_in("v"),
        ExampleRNG.normal,
    )


def cosine(a, b):
    return torch.cosine_similarity(a.flatten(1), b.flatten(1))


def test_votes_at_the_boundary_give_its_normal():
    w = torch.randn(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.full((2, 12), 0.5, dtype=torch.float64)
    boundary = boundary_of(line(w, -0.5 * float(w.sum()) - 1e-9), x)
    assert (cosine(votes(boundary, x, 2000), w.expand(2, 12)) > 0.98).all()
    assert (boundary.search.model.forwards == 2001).all()


@pytest.mark.parametrize(("bias", "sign"), [(100.0, 1), (-100.0, -1)])
def test_where_all_votes_agree_the_mean_direction_decides(bias, sign):
    x = torch.full((1, 6), 0.5, dtype=torch.float64)
    boundary = boundary_of(line(torch.ones(6), bias), x)
    boundary.search.clean_success[:] = False
    directions = (
        boundary.search.rng.fold_in("v").fold_in(0).normal(torch.empty(1, 50, 6, dtype=torch.float64))
    )
    mean = (directions / directions.norm(dim=2, keepdim=True)).sum(1)
    assert torch.allclose(votes(boundary, x, 50), sign * mean, atol=1e-9)


def test_every_example_is_normalized_by_itself():
    w = torch.randn(8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = torch.rand(4, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    radius = torch.tensor([1e-6, 1e-3, 0.1, 10.0], dtype=torch.float64)
    model = line(w, -float(w @ x[0]))

    def ask(rows):
        boundary = boundary_of(model, x[rows], ids=torch.arange(4)[rows])
        boundary.search.clean_success[:] = False
        return boundary.estimate_normal(
            x[rows],
            torch.arange(len(rows)),
            radius[rows],
            40,
            boundary.search.rng.fold_in("v"),
            ExampleRNG.normal,
        )

    whole = ask(torch.arange(4))
    assert torch.equal(torch.cat([ask(torch.tensor([row])) for row in range(4)]), whole)
    assert whole.isfinite().all()


def test_probes_in_pieces_count_and_point_the_same(monkeypatch):
    w = torch.randn(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.full((5, 12), 0.5, dtype=torch.float64)
    seen = []

    def model(z):
        seen.append(len(z))
        return line(w, -0.5 * float(w.sum()) - 1e-9)(z)

    monkeypatch.setattr(module, "MAX_PROBE_NUMEL", 12 * 64)
    monkeypatch.setattr(module, "MAX_QUERY_NUMEL", 12 * 64 * 2)
    boundary = boundary_of(model, x)
    seen.clear()
    assert (cosine(votes(boundary, x, 1000), w.expand(5, 12)) > 0.95).all()
    assert (boundary.search.model.forwards == 1001).all()
    assert max(seen) <= 128


def test_probes_stay_in_the_box_and_within_half_of_what_is_left():
    seen = []

    def model(z):
        seen.append(z)
        return line(torch.ones(5), -4.0)(z)

    x = torch.tensor([[0.0, 1.0, 0.0, 1.0, 0.5]])
    boundary = boundary_of(model, x, questions=42)
    votes(boundary, x, 100, radius=3.0)
    asked = torch.cat(seen)
    assert len(asked) == 1 + 20
    assert ((asked >= 0) & (asked <= 1)).all()


def test_noise_on_a_coarse_grid_meets_what_fine_noise_does_not():
    x = torch.zeros(3, 1, 16, 16)
    boundary = boundary_of(
        lambda z: torch.stack([torch.full((len(z),), 0.8), z[:, 0, :8, :8].mean((1, 2))], 1), x
    )
    rows, points = boundary.initial_points(torch.arange(3), 200)
    assert rows.tolist() == [0, 1, 2]
    assert (points[:, 0, :8, :8].mean((1, 2)) > 0.8).all()
    fine = boundary.search.rng.fold_in("fine").uniform(torch.empty(3, 200, 8, 8))
    assert (fine.mean((2, 3)) < 0.8).all()


def test_a_coarse_grid_repeats_values_and_leaves_vectors_alone():
    noise = torch.rand(2, 3, 5, 7)
    assert torch.equal(coarsen(noise, 0), noise)
    twos = coarsen(noise, 1)
    assert torch.equal(twos[..., 0:2, 0:2], noise[..., :1, :1].expand(2, 3, 2, 2))
    assert coarsen(noise, 3).shape == noise.shape
    assert torch.equal(coarsen(noise[:, 0, 0], 1), noise[:, 0, 0])
    assert coarsen(torch.rand(2, 3, 1, 1), 5).shape == (2, 3, 1, 1)


def test_what_is_left_is_the_lesser_of_both_budgets_and_nothing_when_done():
    x = torch.zeros(2, 3)
    everybody = torch.arange(2)
    model = line(torch.ones(3), -1.0)
    assert boundary_of(model, x, questions=30).queries_left(everybody).tolist() == [28, 28]
    assert boundary_of(model, x, questions=30, queries=10).queries_left(everybody).tolist() == [8, 8]
    assert boundary_of(model, x, questions=2).queries_left(everybody).tolist() == [0, 0]
    early = boundary_of(model, x, early=True, eps=1.0)
    early.is_adversarial(torch.tensor([[0.4, 0.4, 0.4], [1.0, 1.0, 1.0]]), everybody)
    assert (early.queries_left(everybody) > 0).tolist() == [False, True]


def test_nan_far_outside_is_no_error_and_nan_inside_is():
    x = torch.zeros(2, 3)

    def ill(z):
        return torch.where(z[:, :1] > 0.5, torch.nan, line(torch.ones(3), -9.0)(z))

    far, near = (boundary_of(ill, x, eps=eps) for eps in (0.1, 0.9))
    for boundary in (far, near):
        assert not boundary.is_adversarial(
            torch.tensor([[0.6, 0.0, 0.0], [0.0, 0.0, 0.0]]), torch.arange(2)
        ).any()
    assert far.search.error.tolist() == [False, False]
    assert near.search.error.tolist() == [True, False]
    assert math.isinf(float(near.search.best_size[0]))


@pytest.mark.parametrize("numel", [12, 40, 2**19])
def test_probes_of_all_examples_share_batches_that_a_cpu_can_hold_and_change_nothing(numel, monkeypatch):
    calls = []

    def model(z):
        calls.append(len(z))
        return line(torch.ones(4), -2.0)(z)

    def normals():
        calls.clear()
        boundary = boundary_of(model, torch.zeros(5, 4))
        z = torch.full((5, 4), 0.5) + torch.linspace(0, 0.01, 5)[:, None]
        noise, everyone = ExampleRNG.normal, torch.arange(5)
        found = boundary.estimate_normal(
            z, everyone, torch.full((5,), 0.1), 30, ExampleRNG(1, everyone), noise
        )
        assert (boundary.search.model.forwards == 31).all()
        return found

    whole = normals()
    monkeypatch.setattr(module, "CPU_BATCH_MIN", 3)
    monkeypatch.setattr(module, "CPU_BATCH_NUMEL", numel)
    assert torch.equal(normals(), whole)
    most = max(3, numel // 4)
    assert max(calls[1:]) == min(most, 150)
    assert sum(calls) == 155


def test_a_black_box_gets_the_probes_of_all_examples_in_one_call(monkeypatch):
    monkeypatch.setattr(module, "CPU_BATCH_MIN", 3)
    monkeypatch.setattr(module, "CPU_BATCH_NUMEL", 12)

    class Box:
        access = "labels"
        calls: tuple[int, ...] = ()

        def __call__(self, z):
            self.calls += (len(z),)
            return line(torch.ones(4), -2.0)(z)

    box, everyone = Box(), torch.arange(5)
    boundary = boundary_of(box, torch.zeros(5, 4))
    boundary.estimate_normal(
        torch.full((5, 4), 0.5),
        everyone,
        torch.full((5,), 0.1),
        30,
        ExampleRNG(1, everyone),
        ExampleRNG.normal,
    )
    assert box.calls == (5, 150)
