"""A certifier that claims too much, in each of the ways that happen, raises the alarm; the shipped one beside
it does not.
"""

from functools import partial

import pytest
import torch

from quintain.certify.crown import CROWN
from quintain.certify.interval import certifier, domain, graph, traced_bounds
from quintain.certify.randomized_smoothing import RandomizedSmoothing
from quintain.certify.rounding import NO_ROUNDING
from quintain.core.errors import ContradictionError
from quintain.models import Classifier
from quintain.testing import CERTIFIER_BUGS, certified_radii, check_radius_at_most_exact
from quintain.testing.closed_forms import DISTANCES
from quintain.threats import Linf

BY_INTERVALS = partial(certified_radii, certifier.IntervalBounds())
BY_LINES = partial(certified_radii, CROWN())
BY_VOTES = partial(certified_radii, RandomizedSmoothing(0.2, noise_samples=10_000, alpha=0.05))
BY_FEW_VOTES = partial(
    certified_radii, RandomizedSmoothing(0.2, noise_samples=400, selection_samples=10, alpha=0.05)
)
BEYOND = tuple(distance + 1e-6 for distance in DISTANCES)
"""Radii just above the exact ones: what is certified there is false, and votes are looked at to the end."""

BY_LOOKS = partial(
    certified_radii,
    RandomizedSmoothing(0.2, noise_samples=400, selection_samples=10, alpha=0.05),
    asked=BEYOND,
)


@pytest.mark.parametrize(
    ("name", "certify", "settings"),
    [
        ("interval bounds that reach 2 percent too far", BY_INTERVALS, {}),
        ("an l2 bound by the wrong norm", BY_INTERVALS, {}),
        ("linear bounds that reach 2 percent too far", BY_LINES, {}),
        ("a smoothed radius that is 2 percent too large", BY_VOTES, {"alpha": 0.05, "copies": 20}),
        ("a limit at twice alpha", BY_FEW_VOTES, {"alpha": 0.05, "copies": 200}),
        ("votes without a limit", BY_VOTES, {"alpha": 0.05, "copies": 20}),
        ("noise of half of sigma", BY_VOTES, {"alpha": 0.05, "copies": 4}),
        ("noise of half of sigma", BY_LOOKS, {"alpha": 0.05, "copies": 4}),
        ("a fixed limit at every look", BY_LOOKS, {"alpha": 0.05, "copies": 200}),
    ],
)
def test_a_planted_bug_contradicts_the_exact_distance(name, certify, settings):
    check_radius_at_most_exact(certify, **settings)
    with CERTIFIER_BUGS[name].planted(), pytest.raises(AssertionError, match=CERTIFIER_BUGS[name].alarm):
        check_radius_at_most_exact(certify, **settings)


def test_bounds_above_what_the_model_answers_are_noticed_by_the_certifier_itself(monkeypatch):
    net = torch.nn.Sequential(torch.nn.Linear(2, 2)).eval()
    model, x, y = Classifier(net), torch.full((4, 2), 0.5), torch.zeros(4, dtype=torch.long)
    assert certifier.IntervalBounds()(model, x, y, Linf(0.0)).margin.isfinite().all()
    margins = graph.TracedNetwork.margin_bounds
    monkeypatch.setattr(
        graph.TracedNetwork,
        "margin_bounds",
        lambda self, *args, **named: margins(self, *args, **named) + 0.01,
    )
    with pytest.raises(ContradictionError, match="not of the function that runs"):
        certifier.IntervalBounds()(model, x, y, Linf(0.0))


def test_bounds_without_the_models_own_rounding_cross_it(monkeypatch):
    net = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)).eval()
    with torch.no_grad():
        for layer, bias in zip(net, (1e8, -1e8), strict=True):
            layer.weight.fill_(1.0)
            layer.bias.fill_(bias)
    model, x, y = Classifier(net), torch.tensor([[0.9]]), torch.tensor([1])
    assert not certifier.IntervalBounds()(model, x, y, Linf(0.0)).certified
    monkeypatch.setattr(traced_bounds, "rounding_model", lambda _dtype: NO_ROUNDING)
    with pytest.raises(ContradictionError, match="not of the function that runs"):
        certifier.IntervalBounds()(model, x, y, Linf(0.0))


def test_a_box_without_its_clip_is_looser_and_never_wrong(monkeypatch):
    net = torch.nn.Sequential(torch.nn.Linear(2, 2)).eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 2.0]]))
    model, x, y = Classifier(net), torch.zeros(1, 2), torch.zeros(1, dtype=torch.long)
    clipped = certifier.IntervalBounds()(model, x, y, Linf(0.1)).margin
    monkeypatch.setattr(
        certifier,
        "input_interval",
        lambda x, threat, _eps: domain.Interval(x, torch.full_like(x, threat.eps)),
    )
    assert (certifier.IntervalBounds()(model, x, y, Linf(0.1)).margin < clipped - 0.1).all()
