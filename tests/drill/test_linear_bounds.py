"""The drill's linear bounds: what intervals and attacks leave open, within its seconds, and what is left."""

from types import SimpleNamespace

import pytest
from torch import nn

from quintain.attacks import PGD
from quintain.certify import IntervalBounds
from quintain.core.progress import no_progress
from quintain.drill.linear_bounds import certify_by_linear_bounds
from quintain.evaluate.brackets import known_examples
from quintain.evaluate.certify import certify_examples
from quintain.evaluate.evasion.attacks import run_attacks
from quintain.evaluate.model import named_model
from quintain.models.classifier import Classifier
from tests.evaluate.support.inline_pool import InlinePool, inline_jobs
from tests.evaluate.support.trained_net import SIZES, net, points


@pytest.fixture(scope="module")
def sides():
    subject, data = named_model(Classifier(net()), "plain", "plain net", build=build), points()
    attacked = run_attacks(subject, data, SIZES, {"pgd": PGD(steps=10)})
    return subject, attacked, certify_examples(subject, data, SIZES, IntervalBounds(), method="intervals")


def build():
    layers = nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2)
    return Classifier(nn.Sequential(*layers).eval())


def linear_bounds(sides, folder, seconds, processes=1):
    subject, attacked, proof = sides
    context = SimpleNamespace(
        workload=SimpleNamespace(bound_seconds=seconds),
        threats=SIZES,
        threat=SIZES[1],
        test=points(),
        folder=folder,
        progress=no_progress,
        processes=processes,
    )
    missing = []
    found, notes = certify_by_linear_bounds(
        context, {"plain": subject}, {"plain": proof}, {"plain": attacked}, missing
    )
    assert missing == []
    return found["plain"], notes


def num_open(found, attacked, eps):
    both = known_examples(found, attacked)
    return sum(low < eps < high for low, high in zip(both.certified_radius, both.broken_radius, strict=True))


def test_they_leave_less_open_than_intervals_and_say_nothing_where_all_was_asked(sides, tmp_path):
    found, notes = linear_bounds(sides, tmp_path, 600)
    _, attacked, proof = sides
    assert notes == ()
    assert found.method.startswith("intervals + linear bounds (CROWN)")
    for threat in SIZES[:2]:
        assert num_open(found, attacked, threat.eps) == 0
    assert num_open(proof, attacked, SIZES[1].eps) > 0
    assert all(map(float.__ge__, found.examples.certified_radius, proof.examples.certified_radius))


def test_several_processes_share_them(sides, tmp_path):
    alone, _ = linear_bounds(sides, tmp_path, 600)
    with inline_jobs() as jobs:
        together, notes = linear_bounds(sides, tmp_path, 600, processes=2)
        assert InlinePool.refused == []
    assert {job.task.certifier.name for job in jobs} >= {"crown"}
    assert (together.examples, notes) == (alone.examples, ())


def test_without_time_nothing_is_asked_and_that_is_said(sides, tmp_path):
    found, (note,) = linear_bounds(sides, tmp_path, 1e-9)
    assert found == sides[2]
    assert note.startswith("In 1e-09 s linear bounds did not reach ")
    assert "examples of the plain net" in note
    assert linear_bounds(sides, tmp_path, 0) == (sides[2], ())
