"""A certifier that claims too much, in each of the ways that happen, raises the alarm; the shipped one beside
it does not.
"""

from dataclasses import replace
from functools import partial

import pytest
import torch

from quintain.certify import smoothing
from quintain.certify.interval import certifier, domain, graph
from quintain.certify.randomized_smoothing import RandomizedSmoothing
from quintain.certify.rounding import NO_ROUNDING
from quintain.core import statistics
from quintain.core.errors import ContradictionError
from quintain.models import Classifier
from quintain.testing import certified_radii, check_radius_at_most_exact
from quintain.threats import Linf

BY_INTERVALS = partial(certified_radii, certifier.IntervalBounds())
BY_VOTES = partial(certified_radii, RandomizedSmoothing(0.2, noise_samples=10_000, alpha=0.05))
BY_FEW_VOTES = partial(
    certified_radii, RandomizedSmoothing(0.2, noise_samples=400, selection_samples=10, alpha=0.05)
)


def test_interval_bounds_that_reach_2_percent_too_far_contradict_the_exact_distance(monkeypatch):
    check_radius_at_most_exact(BY_INTERVALS)
    original = certifier.input_interval
    monkeypatch.setattr(
        certifier,
        "input_interval",
        lambda x, threat, eps=None: original(x, threat, (threat.eps if eps is None else eps) / 1.02),
    )
    with pytest.raises(AssertionError, match="above the exact distance"):
        check_radius_at_most_exact(BY_INTERVALS)


def test_an_l2_bound_by_the_wrong_norm_contradicts_the_exact_distance(monkeypatch):
    original = certifier.input_interval

    def shrunk(x, threat, eps=None):
        box = original(x, threat, eps)
        return replace(
            box, ellipsoid=replace(box.ellipsoid, semi_axes=box.ellipsoid.semi_axes / x[0].numel() ** 0.5)
        )

    monkeypatch.setattr(certifier, "input_interval", shrunk)
    with pytest.raises(AssertionError, match="above the exact distance"):
        check_radius_at_most_exact(BY_INTERVALS)


def test_a_smoothed_radius_that_is_2_percent_too_large_contradicts_the_exact_distance(monkeypatch):
    check_radius_at_most_exact(BY_VOTES, alpha=0.05, copies=20)
    radius = smoothing.SmoothedClassifier._certified_radius
    monkeypatch.setattr(
        smoothing.SmoothedClassifier,
        "_certified_radius",
        lambda self, probability: 1.02 * radius(self, probability),
    )
    with pytest.raises(AssertionError, match="above the exact distance"):
        check_radius_at_most_exact(BY_VOTES, alpha=0.05, copies=20)


def test_a_limit_at_twice_alpha_contradicts_the_exact_distance(monkeypatch):
    check_radius_at_most_exact(BY_FEW_VOTES, alpha=0.05, copies=200)
    monkeypatch.setattr(
        smoothing,
        "binomial_lower",
        lambda hits, trials, confidence: statistics.binomial_lower(hits, trials, 1 - 2 * (1 - confidence)),
    )
    with pytest.raises(AssertionError, match="above the exact distance"):
        check_radius_at_most_exact(BY_FEW_VOTES, alpha=0.05, copies=200)


def test_the_share_of_votes_without_a_limit_contradicts_the_exact_distance(monkeypatch):
    monkeypatch.setattr(smoothing, "binomial_lower", lambda hits, trials, confidence: hits / trials)
    with pytest.raises(AssertionError, match="above the exact distance"):
        check_radius_at_most_exact(BY_VOTES, alpha=0.05, copies=20)


def test_noise_of_another_size_than_sigma_contradicts_the_exact_distance(monkeypatch):
    noise = smoothing.SmoothedClassifier._noise_batches
    monkeypatch.setattr(
        smoothing.SmoothedClassifier,
        "_noise_batches",
        staticmethod(lambda *args: (block / 2 for block in noise(*args))),
    )
    with pytest.raises(AssertionError, match="above the exact distance"):
        check_radius_at_most_exact(BY_VOTES, alpha=0.05, copies=4)


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
    monkeypatch.setattr(certifier, "rounding_model", lambda _dtype: NO_ROUNDING)
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
