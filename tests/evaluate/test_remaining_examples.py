"""What a cheap certifier leaves open goes to linear bounds, and nothing that it certified is lost."""

import numpy as np
import pytest

from quintain.certify import CROWN, IntervalBounds
from quintain.evaluate.certify import certify_examples
from quintain.evaluate.remaining_examples import certify_remaining
from quintain.evaluate.steps.certify import run_certify
from quintain.threats import parse
from tests.evaluate.support.trained_net import SIZES, points

DATA = points()


@pytest.fixture(scope="module")
def intervals(subject):
    return certify_examples(subject, DATA, SIZES, IntervalBounds(), method="interval bounds")


def test_where_no_certifier_is_named_linear_bounds_go_on_from_intervals(subject):
    named = run_certify(subject, DATA, SIZES, "interval")
    output = run_certify(subject, DATA, SIZES, "interval", named=False)
    alone = run_certify(subject, DATA, SIZES, "crown")
    for claim, other, crown in zip(output.claims[1:], named.claims[1:], alone.claims[1:], strict=True):
        assert claim.bracket.lower.method == "interval bounds + linear bounds (CROWN)"
        assert claim.bracket.lower.value == crown.bracket.lower.value >= other.bracket.lower.value
        assert claim.upper_counts == other.upper_counts
    gained = [
        claim.bracket.lower.value - other.bracket.lower.value
        for claim, other in zip(output.claims[1:], named.claims[1:], strict=True)
    ]
    assert max(gained) > 0
    assert output.notes == named.notes == ()


def test_what_there_was_no_time_for_is_said_and_no_radius_is_lost(subject, intervals):
    found, notes = certify_remaining(subject, DATA, SIZES, intervals, seconds=1e-9)
    assert found == intervals
    (note,) = notes
    assert note.startswith("linear bounds (CROWN) did not reach ")
    assert note.endswith(" of 60 examples in 0 s; --certifier crown tries them all.")
    some, notes = certify_remaining(subject, DATA, SIZES, intervals, seconds=60.0)
    assert notes == ()
    radii = np.array([intervals.examples.certified_radius, some.examples.certified_radius])
    assert (radii[1] >= radii[0]).all()


def test_a_kind_of_threat_without_an_expensive_certifier_stays_as_it_is(subject, intervals):
    assert certify_remaining(subject, DATA, [parse("l0:1")], intervals) == (intervals, ())


def test_radii_of_linear_bounds_are_those_of_the_certifier_itself(subject, intervals):
    found, _ = certify_remaining(subject, DATA, SIZES, intervals)
    x, y = DATA.batch(range(len(DATA)))
    for threat in SIZES:
        certified = CROWN()(subject.model, x, y, threat).certified.numpy()
        assert ((np.array(found.examples.certified_radius) >= threat.eps) >= certified).all()
