"""The smoothed model is the subject of its own bracket."""

import numpy as np
import torch
from torch import nn

from quintain.data.dataset import from_arrays
from quintain.evaluate.smoothing import Smoothing, smoothed_bracket
from quintain.evaluate.subject import described
from quintain.models.classifier import Classifier
from quintain.results import Basis, Status
from quintain.threats import L2

PLAN = Smoothing(0.25, draws=2000, examples=30, judged=500, steps=15)


def halfspace():
    """Class 1 where x0 + x1 > 1: smoothing keeps the boundary where it is."""
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 0.0], [4.0, 4.0]]))
        model.bias.copy_(torch.tensor([0.0, -4.0]))
    return described(Classifier(model.eval(), classes=2), "half", "half-space")


def points(count=50):
    x = np.random.default_rng(1).random((count, 2)).astype(np.float32)
    return from_arrays(x, (x.sum(1) > 1).astype(int), name="points")


def test_certified_below_exact_below_attacked_on_a_half_space():
    base, data = halfspace(), points()
    attacks, result, claims = smoothed_bracket(base, data, [L2(0.05), L2(0.2)], PLAN, seed=4)
    assert len(result.examples.ids) == 30
    rows = np.sort(np.random.default_rng(_seed()).permutation(len(data))[:30])
    x, _ = data.batch(rows)
    distance = (x.sum(1) - 1).abs().double() / 2**0.5
    safe, broken = torch.tensor(result.examples.safe_radius), torch.tensor(result.examples.broken_radius)
    assert (safe <= distance + 1e-9).float().mean() >= 0.95
    assert (broken >= distance - 1e-6).all()
    for claim, eps in zip(claims, (0.05, 0.2), strict=True):
        exact = float((distance > eps).float().mean())
        assert claim.bracket.lower.value <= exact <= claim.bracket.upper.value + 1e-9
        assert claim.bracket.status is Status.CONSISTENT
        assert claim.bracket.lower.basis is claim.bracket.upper.basis is Basis.STATISTICAL
    assert claims[1].bracket.upper.value - claims[1].bracket.lower.value <= 0.2
    assert {claim.bracket.of.subject for claim in claims} != {base.file.subject}
    assert attacks.rows[0].backwards > 0


def _seed():
    from quintain.core.seeds import derive

    return derive(4, "examples")


def test_the_same_seed_gives_the_same_bracket():
    first, again = (smoothed_bracket(halfspace(), points(), [L2(0.1)], PLAN, seed=2)[2] for _ in range(2))
    assert first == again


def test_mutant_a_certificate_against_a_clear_vote_is_a_crossing(monkeypatch):
    from dataclasses import replace

    from quintain.certify.smoothed import Smoothed

    real = Smoothed.certify

    def boasting(self, *args, **words):
        outcome = real(self, *args, **words)
        return replace(outcome, radius=torch.full_like(outcome.radius, 0.3))

    monkeypatch.setattr(Smoothed, "certify", boasting)
    x = np.random.default_rng(1).random((40, 2)).astype(np.float32)
    flipped = from_arrays(x, (x.sum(1) <= 1).astype(int), name="flipped")
    _, _, claims = smoothed_bracket(halfspace(), flipped, [L2(0.05)], PLAN, seed=4)
    assert claims[0].bracket.crossed > 10
    assert claims[0].bracket.status is Status.CONTRADICTION
