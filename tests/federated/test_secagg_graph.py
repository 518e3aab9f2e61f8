"""The sparse graph of masks: its chances against enumeration and simulation, and what it must withstand."""

import itertools
import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from quintain.core.errors import SettingError
from quintain.federated.secagg import graph
from quintain.federated.secagg.graph import choose_parameters, is_connected, neighbors

SEED = bytes(range(32))


@pytest.mark.parametrize(
    ("part", "rest", "removed"), [(1, 1, 1), (1, 3, 2), (2, 2, 2), (3, 2, 2), (2, 3, 3), (3, 3, 1)]
)
def test_the_chance_that_a_cycle_has_no_edge_between_two_sets_is_that_of_all_cycles(
    part: int, rest: int, removed: int
) -> None:
    kinds = "S" * part + "T" * rest + "R" * removed
    num_sites = len(kinds)
    free = total = 0
    for order in itertools.permutations(range(1, num_sites)):
        cycle = [kinds[site] for site in (0, *order)]
        pairs = zip(cycle, cycle[1:] + cycle[:1], strict=True)
        free += not any({one, other} == {"S", "T"} for one, other in pairs)
        total += 1
    worked_out = graph._log_chance_of_no_edge(num_sites, part, rest)
    assert math.exp(worked_out) == pytest.approx(float(Fraction(free, total)), abs=1e-12)


@given(population=st.integers(2, 300), data=st.data())
def test_neighbors_of_a_kind_follow_the_hypergeometric_law(population: int, data: st.DataObject) -> None:
    kind = data.draw(st.integers(0, population))
    draws = data.draw(st.integers(1, population))
    expected = stats.hypergeom(population, kind, draws).pmf(np.arange(draws + 1))
    np.testing.assert_allclose(
        graph._hypergeometric(population, kind, draws), expected, rtol=1e-8, atol=1e-300
    )


@given(num_sites=st.integers(3, 60), cycles=st.integers(1, 8), seed=st.binary(min_size=32, max_size=32))
def test_the_graph_is_symmetric_connected_and_the_same_for_everybody(
    num_sites: int, cycles: int, seed: bytes
) -> None:
    made = neighbors(seed, num_sites, 2 * cycles)
    assert made == neighbors(seed, num_sites, 2 * cycles)
    for site, beside in enumerate(made):
        assert site not in beside
        assert len(beside) <= 2 * cycles
        assert all(site in made[other] for other in beside)
    assert is_connected(made, range(num_sites))


def test_each_order_of_the_sites_is_as_likely_as_any_other() -> None:
    counts = dict.fromkeys(itertools.permutations(range(4)), 0)
    for number in range(4800):
        counts[tuple(graph._permutation(number.to_bytes(32, "big"), 0, 4))] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 1e-6


def test_cycles_of_one_seed_differ() -> None:
    assert graph._permutation(SEED, 0, 20) != graph._permutation(SEED, 1, 20)


@given(num_sites=st.integers(2, 12), chance=st.floats(0.05, 0.6), seed=st.integers(0, 1000))
def test_connectedness_is_that_of_reaching_everybody(num_sites: int, chance: float, seed: int) -> None:
    rng = random.Random(seed)
    edges: list[set[int]] = [set() for _ in range(num_sites)]
    for one, other in itertools.combinations(range(num_sites), 2):
        if rng.random() < chance:
            edges[one].add(other)
            edges[other].add(one)
    kept = {site for site in range(num_sites) if rng.random() < 0.8}
    reached = {min(kept)} if kept else set()
    for _ in range(num_sites):
        reached |= {other for site in reached for other in edges[site] if other in kept}
    assert is_connected(edges, kept) == (bool(kept) and reached == kept)


@pytest.mark.parametrize(
    ("num_sites", "max_corrupt", "max_dropped"), [(129, 1, 38), (500, 25, 150), (1000, 50, 300)]
)
def test_what_the_parameters_promise_holds_on_graphs_that_are_drawn(
    num_sites: int, max_corrupt: int, max_dropped: int
) -> None:
    chosen = choose_parameters(num_sites, max_corrupt, max_dropped)
    assert chosen.degree < num_sites - 1
    rng = random.Random(5)
    for number in range(6):
        made = neighbors(number.to_bytes(32, "big"), num_sites, chosen.degree)
        order = rng.sample(range(num_sites), num_sites)
        corrupt, dropped = set(order[:max_corrupt]), set(order[max_corrupt : max_corrupt + max_dropped])
        most_corrupt = max(len(corrupt.intersection(beside)) for beside in made)
        fewest = min(len(beside) - len(dropped.intersection(beside)) for beside in made)
        assert most_corrupt < chosen.threshold <= fewest
        assert is_connected(made, set(order) - corrupt - dropped)


def test_a_server_that_drops_all_neighbors_of_an_arc_cuts_a_ring_and_not_these_cycles() -> None:
    num_sites, arc = 200, 30
    chosen = choose_parameters(num_sites, 1, 60)
    half = chosen.degree // 2
    ring = [
        {(site + step) % num_sites for step in range(-half, half + 1) if step} for site in range(num_sites)
    ]
    beside_arc = {site % num_sites for site in (*range(-half, 0), *range(arc, arc + half))}
    assert len(beside_arc) <= 60
    assert not is_connected(ring, set(range(num_sites)) - beside_arc)
    made = neighbors(SEED, num_sites, chosen.degree)
    # here the neighbors of as many sites, however they are grown together, are far more than it may drop
    for start in range(0, num_sites, 20):
        part = {start}
        while len(part) < chosen.threshold:
            border = set().union(*(made[site] for site in part)) - part
            part.add(min(border, key=lambda site: len(set(made[site]) - part - border)))
        assert len(set().union(*(made[site] for site in part)) - part) > 60


def test_more_corrupt_sites_or_dropouts_need_more_neighbors() -> None:
    degrees = [choose_parameters(1000, corrupt, 100).degree for corrupt in (1, 10, 100)]
    assert degrees == sorted(degrees)
    assert choose_parameters(1000, 10, 50).degree < choose_parameters(1000, 10, 300).degree


@pytest.mark.parametrize(("num_sites", "corrupt", "dropped"), [(3, 1, 1), (20, 5, 5)])
def test_too_few_sites_have_no_sparse_graph(num_sites: int, corrupt: int, dropped: int) -> None:
    with pytest.raises(SettingError, match="expected"):
        choose_parameters(num_sites, corrupt, dropped)
