"""Signs of weak attacks: each fires on a model or an attack that was planted for it, and none on an honest
net.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from quintain.attacks import PGD
from quintain.attacks.outcome import AttackOutcome
from quintain.data.dataset import from_arrays
from quintain.evaluate.evasion.attacks import run_attacks
from quintain.evaluate.model import named_model
from quintain.models.classifier import Classifier
from quintain.threats import L2, Linf
from quintain.training import Recipe, fit


def points(count=80, features=8):
    rng = np.random.default_rng(0)
    x = rng.random((count, features)).astype(np.float32)
    return from_arrays(x, (x.mean(1) > 0.5).astype(int), name="points")


@cache
def net():
    torch_net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in torch_net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    fit(torch_net, points(), Recipe(40, batch_size=16, learning_rate=0.02))
    return torch_net.eval()


class Planted(nn.Module):
    """The honest net with something in the way of the attacker."""

    def __init__(self, forward):
        super().__init__()
        self.inner = net()
        self.way = forward

    def forward(self, x):
        return self.way(self.inner, x)


@dataclass(frozen=True)
class Idle:
    """An attack that gives up at once."""

    def __call__(self, model, x, y, threat, *, seed=0, ids=None):
        many, none = torch.zeros(len(x), dtype=torch.long), torch.zeros(len(x), dtype=torch.bool)
        return AttackOutcome(
            x, none, torch.full((len(x),), torch.inf).double(), many, many, none, ("",) * len(x), many
        )


def attacked(way, threat=None, attacks=None, data=None, **words):
    subject = named_model(Classifier(Planted(way).eval() if way else net(), num_classes=2), "m", "model")
    return run_attacks(
        subject, data or points(), [threat or Linf(0.05)], attacks or {"pgd": PGD(20)}, **words
    )


def fired(way, *arguments, **words):
    return {sign.name for sign in attacked(way, *arguments, **words).diagnostics.triggered}


@pytest.mark.parametrize(
    "threat", [Linf(0.01), Linf(0.05), Linf(0.3), Linf(0.0), L2(0.1)], ids=lambda threat: threat.spec
)
def test_an_honest_net_is_trusted(threat):
    trust = attacked(None, threat, {"pgd": PGD()}).diagnostics
    assert trust.triggered == ()
    assert trust.summary == "high"
    assert trust.num_probed == 50


class Wild(torch.autograd.Function):
    """The identity with a gradient that explodes on some examples."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return torch.where(x[:, :1] > 0.8, 1e12 * gradient, gradient)


def coarse(inner, x):
    return inner((x * 4).round() / 4)


MODELS = {
    "constant": (
        lambda inner, x: 0 * inner(x) + torch.tensor([1.0, 0.0]),
        {"zero gradients", "loss not rising", "accuracy does not fall to nothing"},
    ),
    "rounding": (coarse, {"zero gradients", "loss not rising", "accuracy does not fall to nothing"}),
    "probabilities": (lambda inner, x: inner(x).softmax(1), {"outputs that look like probabilities"}),
    "softmax x 1e4": (lambda inner, x: 1e4 * inner(x).softmax(1), {"outputs that look like probabilities"}),
    "saturated": (lambda inner, x: 1e4 * inner(x), {"saturated outputs"}),
    "random": (lambda inner, x: inner(x) + torch.randn(len(x), 2), {"randomness between calls"}),
    "a little random": (
        lambda inner, x: inner(x) * (1 + 1e-2 * torch.rand(len(x), 2)),
        {"randomness between calls"},
    ),
    "NaN": (lambda inner, x: torch.where(x[:, :1] > 0.95, torch.nan, inner(x)), {"invalid outputs"}),
    "no gradient": (lambda inner, x: inner(x).detach(), {"zero gradients"}),
    "exploding": (lambda inner, x: inner(Wild.apply(x)), {"exploding gradients"}),
}


@pytest.mark.parametrize(("way", "expected"), MODELS.values(), ids=MODELS)
def test_a_masked_model_is_found_out(way, expected):
    attacks = {"idle": Idle()} if "no gradient" in MODELS and way is MODELS["no gradient"][0] else None
    trust = attacked(way, attacks=attacks).diagnostics
    assert expected <= {sign.name for sign in trust.triggered}
    assert trust.summary.startswith("doubtful, because ")
    assert all(sign.message in trust.summary for sign in trust.triggered)
    assert all(sign.triggered == (sign.value > sign.threshold) for sign in trust.indicators)


def test_a_loss_that_still_rises_at_the_end_asks_for_more_steps():
    def needle(inner, x):
        """Right everywhere; the nearer to one point, the less so, without end."""
        far = (x - 0.5031).abs().clamp(min=1e-6).log().mean(1)
        return torch.stack((far + 20, torch.zeros_like(far)), 1)

    assert "loss still rising" in fired(
        needle, Linf(0.3), data=from_arrays(points().batch(range(40))[0].numpy(), [0] * 40, num_classes=2)
    )


def test_an_attack_that_gives_up_is_beaten_by_one_step_by_chance_and_by_another_start():
    assert {"one step beats many", "random points beat the attacks", "restarts still help"} <= fired(
        None, Linf(0.2), {"idle": Idle()}
    )


@dataclass(frozen=True)
class Guess:
    """A score attack: corners of the ball at random."""

    access = "scores"

    def __call__(self, model, x, y, threat, *, seed=0, ids=None):
        generator = torch.Generator().manual_seed(seed)
        best, broken = x.clone(), torch.zeros(len(x), dtype=torch.bool)
        for _ in range(200):
            z = threat.project(x + threat.eps * torch.randn(x.shape, generator=generator).sign(), x)
            new = (model(z).argmax(1) != y) & ~broken
            best[new], broken = z[new], broken | new
        size = torch.where(broken, threat.measure(best, x), torch.inf)
        asked = torch.full((len(x),), 200)
        by = tuple("square" if hit else "" for hit in broken)
        return AttackOutcome(
            best.detach(), broken, size, asked, 0 * asked, torch.zeros_like(broken), by, asked * broken
        )


def test_a_score_attack_that_breaks_what_gradients_cannot_is_a_sign_and_one_that_repeats_them_is_none():
    name = "score attack beats gradient attack"
    assert name in fired(coarse, Linf(0.12), {"pgd": PGD(20), "square": Guess()})
    assert name not in fired(None, Linf(0.12), {"square": Guess(), "pgd": PGD(20)})
    alone = attacked(None, Linf(0.12), {"square": Guess()}).diagnostics
    assert {sign.name: sign.triggered for sign in alone.indicators}[name] is False


def test_points_of_another_model_that_break_what_stands_are_a_sign():
    standing = np.isinf(attacked(None).examples.broken_radius)
    assert "transfer beats white box" in fired(None, broken_by_transfer=standing)
    assert "transfer beats white box" not in fired(None, broken_by_transfer=~standing)
    assert "transfer beats white box" not in {sign.name for sign in attacked(None).diagnostics.indicators}


def test_breaks_that_another_batch_may_undo_are_flagged():
    def restless(inner, x):
        lead = inner(x).diff(dim=1)
        return torch.cat((torch.zeros_like(lead), lead.sign() * (1e-3 + 1e-2 * (len(x) == 1))), 1)

    assert "breaks within rounding" in fired(restless, Linf(0.2), {"square": Guess()})


def test_a_budget_of_queries_is_kept_also_by_the_signs():
    asked = []

    def counting(inner, x):
        asked.append(len(x))
        return inner(x)

    result = attacked(counting, max_queries=5)
    assert max(result.break_log.forwards) <= 5
    assert sum(asked) == len(points()) + sum(result.break_log.forwards)
    assert result.diagnostics.num_probed == 0
    assert [sign.name for sign in result.diagnostics.indicators] == ["invalid outputs"]


def test_scores_and_labels_alone_are_asked_for_no_gradient():
    trained = net()

    class Asked:
        name, num_classes, hash, num_parameters, device, dtype = (
            "m",
            2,
            "h",
            0,
            torch.device("cpu"),
            torch.float32,
        )

        def __init__(self, access):
            self.access = access

        def __call__(self, x):
            with torch.no_grad():
                logits = trained(x)
            return (
                nn.functional.one_hot(logits.argmax(1), 2).float()
                if self.access == "labels"
                else logits.softmax(1)
            )

    for access, doubts in (("scores", {"outputs that look like probabilities"}), ("labels", set())):
        result = run_attacks(
            named_model(Asked(access), "m", "m"), points(), [Linf(0.05)], {"square": Guess()}
        )
        assert {sign.name for sign in result.diagnostics.triggered} - {
            "random points beat the attacks"
        } == doubts
