"""What is asked of a certifier that takes long: open examples alone, within a time, and both sides meet."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from quintain.attacks import PGD
from quintain.certify import CROWN, BranchAndBound, CertificateOutcome, IntervalBounds
from quintain.evaluate.brackets import known_examples, robustness_claims
from quintain.evaluate.certify import best_certification, certify_examples
from quintain.evaluate.evasion.attacks import run_attacks
from quintain.evaluate.open_examples import COUNTEREXAMPLES, certify_open, save_counterexamples
from quintain.results import Consistency
from quintain.results.per_example import PerExample
from quintain.threats import Linf
from tests.evaluate.support.trained_net import SIZES, points

EPS = tuple(threat.eps for threat in SIZES)
GRID = 8
"""Points of the grid in a unit."""


class Scripted:
    """Certifies each example up to a limit, breaks it from another on; remembers what it was asked."""

    def __init__(self, limits, breaks=None, distance=0.9):
        self.distance = distance  # of counterexamples, relative to eps
        self.limits = torch.tensor(limits, dtype=torch.float64)
        self.breaks = torch.full_like(self.limits, torch.inf) if breaks is None else torch.tensor(breaks)
        self.asked, self.batch_sizes = [], []

    def __call__(self, model, x, y, threat, *, eps=None):
        rows = (GRID * x[:, 0]).round().long()
        self.asked += [(row, threat.eps) for row in rows.tolist()]
        self.batch_sizes.append(len(rows))
        certified, broken = self.limits[rows] >= threat.eps, self.breaks[rows] <= threat.eps
        return CertificateOutcome(
            certified=certified,
            margin=certified.double() - 0.5,
            radius=None,
            forwards=torch.ones_like(y),
            assumptions=("scripted",),
            failed=torch.zeros_like(certified),
            counterexample=torch.where(broken[:, None], x + self.distance * threat.eps, torch.nan),
        )


class RightOnGrid:
    """A model that answers 0 by a margin of 1 on a grid, which holds the examples, and 1 beside it."""

    device = torch.device("cpu")

    def __call__(self, x):
        is_on_grid = (GRID * x[:, 0]).frac() == 0
        return torch.stack([is_on_grid.float(), (~is_on_grid).float()], 1)


def known(certified, broken, **columns):
    count = len(certified)
    facts = {"predicted": (0,) * count, "invalid": (False,) * count, **columns}
    return PerExample(
        ids=tuple(range(count)),
        labels=(0,) * count,
        certified_radius=tuple(certified),
        broken_radius=tuple(broken),
        **facts,
    )


def asked_of(certifier, facts, **settings):
    x = torch.arange(len(facts.ids), dtype=torch.float32)[:, None] / GRID
    y = torch.zeros(len(x), dtype=torch.long)
    data = SimpleNamespace(batch=lambda rows: (x[rows], y[rows]))
    subject = SimpleNamespace(model=RightOnGrid(), name="scripted")
    return certify_open(subject, data, SIZES, certifier, facts, method="scripted", **settings)


SMALL, MIDDLE, LARGE = EPS


def test_only_open_sizes_are_asked():
    inf = np.inf
    facts = known(
        [0, LARGE, 0, SMALL, 0, 0], [inf, inf, SMALL, LARGE, inf, inf], invalid=(*[False] * 4, True, False)
    )
    facts = replace(facts, predicted=(0, 0, 0, 0, 0, 1))
    certifier = Scripted([LARGE, 0, LARGE, LARGE, LARGE, LARGE])
    found, unasked = asked_of(certifier, facts)
    assert certifier.asked == [(0, MIDDLE), (3, MIDDLE), (0, LARGE)]
    assert unasked == 0
    assert found.examples.certified_radius == (LARGE, LARGE, 0, MIDDLE, 0, 0)
    assert found.assumptions == ("scripted",)
    assert found.way_left == (1.0,) * 6


def test_the_way_left_is_that_of_the_last_size_without_a_proof_and_the_nearest_are_asked_first():
    certifier = Scripted([MIDDLE, SMALL, LARGE])
    found, _ = asked_of(certifier, known([0.0] * 3, [np.inf] * 3))
    third = 0.5 / (1 + 0.5)
    assert found.way_left == (third, third, 1.0)
    again = Scripted([LARGE] * 3)
    asked_of(again, known([0.0] * 3, [np.inf] * 3), way_left=(0.7, 0.2, 0.1))
    assert [row for row, size in again.asked if size == MIDDLE] == [2, 1, 0]


@pytest.mark.parametrize("way_left", [(), (0.5,)], ids=["nothing failed yet", "another has failed"])
def test_after_a_refusal_smaller_sizes_are_asked_and_after_a_proof_larger_ones(way_left):
    certifier = Scripted([0.0, SMALL, MIDDLE, LARGE])
    found, _ = asked_of(certifier, known([0.0] * 4, [np.inf] * 4), way_left=4 * way_left)
    assert found.examples.certified_radius == (0.0, SMALL, MIDDLE, LARGE)
    assert sorted(certifier.asked) == [
        *((row, size) for row in (0, 1) for size in (SMALL, MIDDLE)),
        *((row, size) for row in (2, 3) for size in (MIDDLE, LARGE)),
    ]
    two = Scripted([LARGE])
    asked_of(two, known([0.0], [LARGE]), way_left=way_left)
    assert two.asked[0] == (0, SMALL if way_left else MIDDLE)


def test_a_counterexample_breaks_at_its_size_and_is_saved(tmp_path):
    certifier = Scripted([0.0, 0.0], [MIDDLE, np.inf])
    found, _ = asked_of(certifier, known([0.0] * 2, [np.inf] * 2))
    assert found.examples.broken_radius == (MIDDLE, np.inf)
    save_counterexamples(tmp_path, "net", found)
    with np.load(tmp_path / COUNTEREXAMPLES / "net.npz") as held:
        assert held["rows"].tolist() == [0]
        assert held["inputs"].tolist() == [[np.float32(0.9 * MIDDLE)]]
    save_counterexamples(tmp_path, "other", replace(found, counterexamples=()))
    assert not (tmp_path / COUNTEREXAMPLES / "other.npz").exists()


def test_a_counterexample_breaks_at_the_smallest_size_that_allows_it_and_no_smaller_one_is_asked():
    certifier = Scripted([0.0], [MIDDLE], distance=0.3)
    found, unasked = asked_of(certifier, known([0.0], [np.inf]))
    assert found.examples.broken_radius == (SMALL,)
    assert (certifier.asked, unasked) == ([(0, MIDDLE)], 0)


def test_a_search_is_given_one_example_at_a_time_and_another_certifier_more():
    other, search = Scripted([0.0] * 100), Scripted([0.0] * 100)
    search.seconds = 10.0
    for certifier in (other, search):
        asked_of(certifier, known([0.0] * 100, [np.inf] * 100), clock=lambda: 0.0)
    assert (other.batch_sizes[0], max(other.batch_sizes)) == (1, 32)
    assert set(search.batch_sizes) == {1}
    assert sorted(other.asked) == sorted(search.asked)


def test_what_would_end_too_late_is_not_asked_and_is_counted():
    ticks = iter(float(number) for number in range(100))
    certifier = Scripted([LARGE] * 5)
    found, unasked = asked_of(
        certifier, known([0.0] * 5, [np.inf] * 5), seconds=4.5, clock=lambda: next(ticks)
    )
    # start, then before and after each example, one at a time: a second each, and one to look at the time
    assert len(certifier.asked) < 5
    assert unasked == 5
    assert found.examples.certified_radius.count(MIDDLE) == len(certifier.asked)
    none, unasked = asked_of(certifier, known([0.0] * 5, [np.inf] * 5), seconds=-1.0)
    assert (none.assumptions, unasked) == ((), 5)


def test_intervals_attacks_linear_bounds_and_search_agree(subject):
    data = points()
    attacked = run_attacks(subject, data, SIZES, {"pgd": PGD(steps=20)})
    proofs = [certify_examples(subject, data, SIZES, IntervalBounds(), method="interval bounds")]
    for certifier in (CROWN(), BranchAndBound(seconds=60.0, max_bounds=200)):
        best = best_certification(proofs)
        found, unasked = certify_open(
            subject, data, SIZES, certifier, known_examples(best, attacked), method=certifier.title
        )
        assert unasked == 0
        proofs.append(found)
    best = best_certification(proofs)
    both, claims = robustness_claims(subject, data, SIZES, certification=best, attacked=attacked)
    assert best.method == "interval bounds + linear bounds (CROWN) + branch and bound"
    for threat, claim in zip(SIZES, claims, strict=True):
        assert claim.bracket.consistency is Consistency.CONSISTENT
        gap = claim.bracket.upper.value - claim.bracket.lower.value
        plain = robustness_claims(subject, data, [threat], certification=proofs[0], attacked=attacked)[1][0]
        assert 0 <= gap <= plain.bracket.upper.value - plain.bracket.lower.value
        assert gap < 0.02
    assert not any(both.examples.contradictory_ids(eps) for eps in EPS)


def test_a_certifier_that_claims_what_an_attack_broke_crosses(subject):
    data = points()
    attacked = run_attacks(subject, data, SIZES, {"pgd": PGD(steps=20)})
    proved = certify_examples(subject, data, SIZES, IntervalBounds(), method="interval bounds")
    false = replace(
        proved, examples=replace(proved.examples, certified_radius=(1.0,) * len(data)), method="false"
    )
    _, claims = robustness_claims(
        subject, data, SIZES, certification=best_certification([proved, false]), attacked=attacked
    )
    assert all(claim.bracket.consistency is Consistency.CONTRADICTION for claim in claims)
    assert Linf(LARGE) == SIZES[-1]
