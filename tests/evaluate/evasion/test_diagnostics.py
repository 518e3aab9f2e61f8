"""Indicators of weak attacks: each is triggered by a model or an attack that was made for it, and none by an
honest net.
"""

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from quintain.attacks import BPDA, DDN, PGD, HopSkipJump, Quick, RayS, Square, Strongest
from quintain.attacks.outcome import AttackOutcome
from quintain.core.errors import ExecutionError
from quintain.core.registry import get_entry
from quintain.data.dataset import from_arrays
from quintain.evaluate.evasion.adversarial import open_adversarial
from quintain.evaluate.evasion.attacks import run_attacks
from quintain.evaluate.evasion.decision_probe import NUM_WALKED, WALK_QUERIES
from quintain.evaluate.evasion.probes import PROBE_QUERIES
from quintain.evaluate.evasion.witnesses import confirmed_witnesses
from quintain.evaluate.model import named_model
from quintain.models.classifier import Classifier
from quintain.testing import MeanSparse
from quintain.threats import L2, Linf
from quintain.threats.parametric import is_allowed
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


@pytest.fixture(autouse=True)
def _trained():
    # Train before any test: a Box calls net() under no_grad, where training would fail.
    net()


class TransformedNet(nn.Module):
    """The honest net behind ``transform(net, x)``, which gets in the way of the attacker."""

    def __init__(self, transform):
        super().__init__()
        self.inner = net()
        self.transform = transform

    def forward(self, x):
        return self.transform(self.inner, x)


@dataclass(frozen=True)
class Idle:
    """An attack that gives up at once."""

    def __call__(self, model, x, y, threat, *, seed=0, ids=None):
        many, none = torch.zeros(len(x), dtype=torch.long), torch.zeros(len(x), dtype=torch.bool)
        return AttackOutcome(
            x, none, torch.full((len(x),), torch.inf).double(), many, many, none, ("",) * len(x), many
        )


def run_on_model(transform, threat=None, attacks=None, data=None, **options):
    torch_net = TransformedNet(transform).eval() if transform else net()
    return run_attacks(
        named_model(Classifier(torch_net, num_classes=2), "m", "model"),
        data or points(),
        [threat or Linf(0.05)],
        attacks or {"pgd": PGD(20)},
        **options,
    )


def triggered_names(transform, *arguments, **options):
    return {
        indicator.name for indicator in run_on_model(transform, *arguments, **options).diagnostics.triggered
    }


@pytest.mark.parametrize(
    "threat", [Linf(0.01), Linf(0.05), Linf(0.3), Linf(0.0), L2(0.1)], ids=lambda threat: threat.spec
)
def test_an_honest_net_is_trusted(threat):
    trust = run_on_model(None, threat, {"pgd": PGD()}).diagnostics
    assert trust.triggered == ()
    assert trust.summary == "high"
    assert trust.num_probed == 50


class ExplodingGradient(torch.autograd.Function):
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


@cache
def mean_sparse():
    return MeanSparse(net()[0](points().batch(range(80))[0]).detach(), 1.5)


def sparse(inner, x):
    return inner[1:](mean_sparse()(inner[0](x)))


PGD_20 = {"pgd": PGD(20)}
MODELS = {
    "constant": (
        lambda inner, x: 0 * inner(x) + torch.tensor([1.0, 0.0]),
        PGD_20,
        {"zero gradients", "loss not rising", "accuracy does not fall to nothing"},
    ),
    "rounding": (
        coarse,
        PGD_20,
        {"zero gradients", "loss not rising", "accuracy does not fall to nothing"},
    ),
    "probabilities": (
        lambda inner, x: inner(x).softmax(1),
        PGD_20,
        {"outputs that look like probabilities"},
    ),
    "softmax x 1e4": (
        lambda inner, x: 1e4 * inner(x).softmax(1),
        PGD_20,
        {"outputs that look like probabilities"},
    ),
    "saturated": (lambda inner, x: 1e4 * inner(x), PGD_20, {"saturated outputs"}),
    "random": (lambda inner, x: inner(x) + torch.randn(len(x), 2), PGD_20, {"randomness between calls"}),
    "a little random": (
        lambda inner, x: inner(x) * (1 + 1e-2 * torch.rand(len(x), 2)),
        PGD_20,
        {"randomness between calls"},
    ),
    "NaN": (
        lambda inner, x: torch.where(x[:, :1] > 0.95, torch.nan, inner(x)),
        PGD_20,
        {"invalid outputs"},
    ),
    # PGD would end with an error, since the model gives it no gradient
    "no gradient": (lambda inner, x: inner(x).detach(), {"idle": Idle()}, {"zero gradients"}),
    "mean sparse": (sparse, PGD_20, {"zero gradients", "loss not rising"}),
    "exploding": (lambda inner, x: inner(ExplodingGradient.apply(x)), PGD_20, {"exploding gradients"}),
}


@pytest.mark.parametrize(("transform", "attacks", "expected"), MODELS.values(), ids=MODELS)
def test_a_masked_model_is_found_out(transform, attacks, expected):
    trust = run_on_model(transform, attacks=attacks).diagnostics
    assert expected <= {indicator.name for indicator in trust.triggered}
    assert trust.summary.startswith("doubtful, because ")
    assert all(indicator.message in trust.summary for indicator in trust.triggered)
    assert all(
        indicator.triggered == (indicator.value > indicator.threshold) for indicator in trust.indicators
    )


def test_a_loss_that_still_rises_at_the_end_asks_for_more_steps():
    def needle(inner, x):
        """Right everywhere; the nearer to one point, the less so, without end."""
        far = (x - 0.5031).abs().clamp(min=1e-6).log().mean(1)
        return torch.stack((far + 20, torch.zeros_like(far)), 1)

    assert "loss still rising" in triggered_names(
        needle, Linf(0.3), data=from_arrays(points().batch(range(40))[0].numpy(), [0] * 40, num_classes=2)
    )


def test_an_attack_that_gives_up_is_beaten_by_one_step_by_chance_and_by_another_start():
    assert {
        "one step beats many",
        "random points beat the attacks",
        "restarts still help",
    } <= triggered_names(None, Linf(0.2), {"idle": Idle()})


@dataclass(frozen=True)
class RandomCorners:
    """A score attack that tries random corners of the ball."""

    access, min_queries = "scores", 200
    queries: int = 200

    def __call__(self, model, x, y, threat, *, seed=0, ids=None, max_queries=None):
        generator = torch.Generator().manual_seed(seed)
        best, broken = x.clone(), torch.zeros(len(x), dtype=torch.bool)
        found = torch.zeros(len(x), dtype=torch.long)
        for number in range(max_queries or self.queries):
            z = threat.project(x + threat.eps * torch.randn(x.shape, generator=generator).sign(), x)
            new = (model(z).argmax(1) != y) & ~broken
            best[new], found[new], broken = z[new], number + 1, broken | new
        size = torch.where(broken, threat.measure(best, x), torch.inf)
        num_queries = torch.full((len(x),), max_queries or self.queries)
        return AttackOutcome(
            best.detach(),
            broken,
            size,
            forwards=num_queries,
            backwards=torch.zeros_like(num_queries),
            error=torch.zeros_like(broken),
            found_by=tuple("square" if is_broken else "" for is_broken in broken),
            queries_to_success=found,
        )


def test_a_score_attack_that_breaks_what_gradients_cannot_is_indicated_and_one_that_repeats_them_is_not():
    name = "score attack beats gradient attack"
    assert name in triggered_names(coarse, Linf(0.12), {"pgd": PGD(20), "square": RandomCorners()})
    assert name not in triggered_names(None, Linf(0.12), {"square": RandomCorners(), "pgd": PGD(20)})
    alone = run_on_model(None, Linf(0.12), {"square": RandomCorners()}).diagnostics
    assert {indicator.name: indicator.triggered for indicator in alone.indicators}[name] is False


def test_points_of_another_model_that_break_what_no_attack_broke_are_indicated():
    unbroken = np.isinf(run_on_model(None).examples.broken_radius)
    assert "transfer beats white box" in triggered_names(None, broken_by_transfer=unbroken)
    assert "transfer beats white box" not in triggered_names(None, broken_by_transfer=~unbroken)
    assert "transfer beats white box" not in {
        indicator.name for indicator in run_on_model(None).diagnostics.indicators
    }


def test_breaks_that_another_batch_may_undo_are_flagged():
    def restless(inner, x):
        lead = inner(x).diff(dim=1)
        return torch.cat((torch.zeros_like(lead), lead.sign() * (1e-3 + 1e-2 * (len(x) == 1))), 1)

    assert "breaks within rounding" in triggered_names(restless, Linf(0.2), {"square": RandomCorners()})


def test_strongest_sees_through_a_threshold_that_hides_gradients_as_far_as_bpda_does():
    x, y = points().batch(range(80))
    hidden, seen_through = (
        nn.Sequential(net()[0], layer, *net()[1:]).eval() for layer in (mean_sparse(), BPDA(mean_sparse()))
    )
    assert torch.equal(hidden(x), seen_through(x))
    broken = {
        name: int(attack(Classifier(model, num_classes=2), x, y, Linf(0.1)).success.sum())
        for name, attack, model in (
            ("pgd", PGD(), hidden),
            ("bpda", PGD(), seen_through),
            ("strongest", Strongest(steps=10, queries=100), hidden),
        )
    }
    assert broken["pgd"] < broken["bpda"] <= broken["strongest"]


class WrongGradient(torch.autograd.Function):
    """The identity, whose gradient points away from the boundary."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.flip(1) - gradient


WALKED = "decision-based attack beats gradient attack"


def test_labels_that_find_what_gradients_miss_are_indicated():
    assert WALKED in triggered_names(lambda inner, x: inner(WrongGradient.apply(x)), Linf(0.2))
    assert WALKED in triggered_names(lambda inner, x: inner(WrongGradient.apply(x)), L2(0.5), {"ddn": DDN()})


@dataclass(frozen=True)
class FarOut(DDN):
    """A search for the smallest change that stops at changes twice as large as need be."""

    __slots__ = ()

    def __call__(self, model, x, y, threat, **options):
        outcome = super().__call__(model, x, y, threat, **options)
        z = (x + 2 * (outcome.adversarial - x)).clamp(0, 1)
        kept = outcome.success & (model(z).argmax(1) != y) & (threat.measure(z, x) <= threat.eps)
        size = torch.where(kept, threat.measure(z, x), torch.inf)
        return replace(outcome, adversarial=z, success=kept, size=size)


@pytest.mark.parametrize(("attack", "is_doubtful"), [(DDN(), False), (FarOut(), True)])
def test_a_search_for_the_smallest_change_that_ends_too_far_out_is_indicated(attack, is_doubtful):
    trust = run_on_model(None, L2(2.0), {"ddn": attack}).diagnostics
    assert {indicator.name: indicator.triggered for indicator in trust.indicators}[WALKED] is is_doubtful


class Box:
    """The honest net as a black box of scores or labels, which counts the inputs that it was queried with."""

    name, num_classes, hash, num_parameters = "m", 2, "h", 0
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, access, make_net=net, max_queries=None):
        self.access, self.make_net, self.max_queries = access, make_net, max_queries
        self.num_queries = 0

    def __call__(self, x):
        self.num_queries += len(x)
        if self.max_queries is not None and self.num_queries > self.max_queries:
            raise ExecutionError("no more answers")
        with torch.no_grad():
            logits = self.make_net()(x)
        return nn.functional.one_hot(logits.argmax(1), 2).float() if self.access == "labels" else logits

    def run_attacks(self, threat, attacks, **options):
        return run_attacks(named_model(self, "m", "m"), points(), [threat], attacks, **options)


def test_the_attacks_keep_their_budget_and_the_probes_their_own():
    batch_sizes = []

    def counting(inner, x):
        batch_sizes.append(len(x))
        return inner(x)

    result = run_on_model(counting, max_queries=5)
    trust = result.diagnostics
    assert max(result.break_log.forwards) <= 5
    by_probes = sum(batch_sizes) - len(points()) - sum(result.break_log.forwards)
    assert 0 < by_probes <= PROBE_QUERIES["gradients"] * trust.num_probed + NUM_WALKED * WALK_QUERIES
    assert {"restarts still help", "zero gradients"} <= {indicator.name for indicator in trust.indicators}


@pytest.mark.parametrize("access", ["scores", "labels"])
def test_probes_of_a_model_without_gradients_keep_their_small_budget(access):
    box = Box(access)
    result = box.run_attacks(Linf(0.05), {"guess": RandomCorners()}, max_queries=300)
    assert result.diagnostics.num_probed == 50
    by_probes = box.num_queries - len(points()) - sum(result.break_log.forwards)
    assert 0 < by_probes <= PROBE_QUERIES[access] * 50


@pytest.mark.parametrize("access", ["scores", "labels"])
@pytest.mark.parametrize("queries", [2, 19, 499])
def test_a_model_that_was_hardly_queried_is_never_trusted_and_not_probed(access, queries):
    """Weak as it is, it looks robust: the net that gradients break within this threat."""
    assert not np.isinf(run_on_model(None, Linf(0.2)).examples.broken_radius).all()
    name, attack = ("square", Square()) if access == "scores" else ("hopskipjump", HopSkipJump())
    box = Box(access)
    result = box.run_attacks(Linf(0.2), {name: attack}, max_queries=queries)
    trust = result.diagnostics
    assert np.isinf(result.examples.broken_radius).any()
    assert trust.num_probed == 0
    assert box.num_queries == len(points()) + sum(result.break_log.forwards)
    # Either there were too few queries to judge it, or the attack was still getting further at their end.
    assert {indicator.name for indicator in trust.triggered} <= {"queries still help"}
    assert trust.triggered or re.fullmatch(
        rf"not judged: [\d,]+ queries per example, below the {attack.min_queries:,} that {name} needs",
        trust.summary,
    )


@cache
def broken_by_gradients():
    """Which points the net has right and the quick ensemble breaks."""
    x, y = points().batch(range(80))
    return Quick()(Classifier(net(), num_classes=2), x, y, Linf(0.1)).success & (net()(x).argmax(1) == y)


@pytest.mark.parametrize("name", ["square", "simba", "nes", "spsa", "hopskipjump", "rays"])
def test_at_the_queries_that_it_needs_an_attack_breaks_half_of_what_gradients_break(name):
    attack = get_entry("attack", name).load()()
    x, y = points().batch(range(80))
    broken = broken_by_gradients()
    box = Box(attack.access)
    found = attack(box, x[broken], y[broken], Linf(0.1), max_queries=attack.min_queries)
    assert int(broken.sum()) >= 20
    assert float(found.success.double().mean()) >= 0.5


def test_an_attack_that_has_nothing_left_to_try_is_judged_unless_it_was_cut_off():
    whole = Box("labels").run_attacks(Linf(0.01), {"rays": RayS()})
    assert max(whole.break_log.forwards) < RayS.min_queries
    assert whole.diagnostics.summary == "high"
    cut = Box("labels").run_attacks(Linf(0.01), {"rays": RayS()}, max_queries=20).diagnostics
    assert (
        cut.summary == f"not judged: 20 queries per example, below the {RayS.min_queries:,} that rays needs"
    )


def test_an_honest_black_box_with_queries_enough_is_trusted():
    box = Box("scores")
    result = box.run_attacks(Linf(0.01), {"square": Square(600)})
    assert np.isinf(result.examples.broken_radius).any()
    assert result.diagnostics.summary == "high"
    assert {"queries still help", "randomness between calls", "random points beat the attacks"} <= {
        indicator.name for indicator in result.diagnostics.indicators
    }


def test_a_limit_of_just_the_queries_that_are_needed_suffices():
    needed = Square.min_queries
    enough, less = (
        Box("scores").run_attacks(Linf(0.01), {"square": Square()}, max_queries=queries).diagnostics
        for queries in (needed, needed - 1)
    )
    assert enough.summary == "high"
    assert less.summary == (
        f"not judged: {needed - 1} queries per example, below the {needed} that square needs"
    )


def test_one_attack_with_queries_enough_suffices():
    box = Box("scores")
    trust = box.run_attacks(Linf(0.01), {"short": Square(20), "square": Square(600)}).diagnostics
    assert trust.summary == "high"


@dataclass(frozen=True)
class Shrinking(RandomCorners):
    """Finds, from labels alone, no break, and changes that shrink by a quarter after half of its queries."""

    access: ClassVar = "labels"
    shrinks: float = 0.75

    def __call__(self, model, x, y, threat, **options):
        outcome = super().__call__(model, x, y, threat, **options)
        nothing = torch.zeros_like(outcome.success)
        sizes = torch.full((2, len(x)), 2 * threat.eps, dtype=torch.float64)
        sizes[1] *= self.shrinks
        return replace(outcome, success=nothing, size=torch.full((len(x),), torch.inf), smallest_sizes=sizes)


@pytest.mark.parametrize(("shrinks", "helps"), [(1.0, False), (0.96, False), (0.94, True)])
def test_changes_that_still_shrink_ask_for_more_queries(shrinks, helps):
    trust = Box("labels").run_attacks(Linf(0.01), {"slow": Shrinking(shrinks=shrinks)}, max_queries=2000)
    assert ("queries still help" in {indicator.name for indicator in trust.diagnostics.triggered}) is helps
    remedy = "raise --max-queries 2000, or attack the net itself, whose gradients find them sooner"
    assert (remedy in trust.diagnostics.summary) is helps


def test_a_walk_that_had_few_queries_is_doubtful_and_one_that_has_converged_is_trusted():
    few, many = (
        Box("labels").run_attacks(Linf(0.02), {"hopskipjump": HopSkipJump(queries)}).diagnostics
        for queries in (200, 6000)
    )
    assert "shrank by" in few.summary
    assert "give the attack more queries, or attack the net itself" in few.summary
    assert many.summary == "high"


@pytest.mark.parametrize(("query", "late"), [(1, False), (150, False), (151, True), (200, True)])
def test_breaks_at_the_end_of_the_budget_ask_for_more_queries(query, late):
    @dataclass(frozen=True)
    class Slow(RandomCorners):
        """Finds what it finds at one query."""

        def __call__(self, *arguments, **options):
            outcome = super().__call__(*arguments, **options)
            return replace(outcome, queries_to_success=torch.where(outcome.success, query, 0))

    trust = Box("scores").run_attacks(Linf(0.12), {"guess": Slow()}).diagnostics
    assert {indicator.name: indicator.triggered for indicator in trust.indicators}[
        "queries still help"
    ] is late


def test_a_model_that_stops_answering_the_probes_is_not_judged():
    whole = Box("scores")
    result = whole.run_attacks(Linf(0.01), {"guess": RandomCorners()})
    assert result.diagnostics.summary == "high"
    cut = (
        Box("scores", max_queries=whole.num_queries - 10)
        .run_attacks(Linf(0.01), {"guess": RandomCorners()})
        .diagnostics
    )
    assert cut.summary == "not judged: the model did not answer all probes (no more answers)"


def test_attacks_that_made_no_query_are_not_judged():
    trust = Box("scores").run_attacks(Linf(0.05), {"idle": Idle()}).diagnostics
    assert trust.summary == "not judged: the attacks made no query"


def test_where_nothing_was_classified_correctly_nothing_is_judged():
    x, _ = points().batch(range(80))
    wrong = from_arrays(x.numpy(), 1 - net()(x).argmax(1).numpy(), name="points", num_classes=2)
    trust = run_on_model(None, data=wrong).diagnostics
    assert trust.summary == "not judged: no example was attacked, since none is classified correctly"


@pytest.mark.parametrize("threat", [Linf(0.2), L2(0.4)])
def test_what_the_diagnostics_break_counts_as_broken_and_is_stored(threat, tmp_path):
    result = run_on_model(
        None, threat, {"idle": Idle()}, folder=tmp_path, checkpoint_dir=tmp_path / "chunks", num_probed=80
    )
    by_probes = [
        row for row, name in enumerate(result.break_log.found_by) if name.startswith("diagnostics: ")
    ]
    assert by_probes
    assert [result.rows[0].num_broken, sum(result.break_log.forwards)] == [0, 0]
    examples = result.examples
    assert examples.unbroken_counts(threat.eps, 2).num_correct == result.rows[
        0
    ].unbroken_counts.num_correct - len(by_probes)
    with open_adversarial(tmp_path / result.adversarial.path, result.adversarial.sha256) as stored:
        (batch,) = stored.batches(100)
        assert stored.source.attacks == ("idle", "diagnostics")
    assert batch.ids.tolist() == by_probes
    x, y = points().batch(batch.ids.numpy())
    assert is_allowed(threat, batch.x_adv, x).all()
    assert (net()(batch.x_adv).argmax(1) != y).all()
    assert batch.distance.tolist() == [examples.broken_radius[row] for row in by_probes]
    assert threat.measure(batch.x_adv, x).tolist() == batch.distance.tolist()


@dataclass(frozen=True)
class Blind(Idle):
    """A score attack that queries the unchanged examples alone."""

    access, min_queries = "scores", 200

    def __call__(self, model, x, y, threat, *, seed=0, ids=None, max_queries=300):
        nothing = super().__call__(model, x, y, threat)
        return replace(nothing, forwards=torch.full((len(x),), max_queries))


def test_random_points_that_break_an_example_are_witnesses_of_a_black_box_too():
    box = Box("scores")
    result = box.run_attacks(Linf(0.5), {"blind": Blind()}, max_queries=300)
    broken = [name for name in result.break_log.found_by if name.startswith("diagnostics: random points")]
    indicator = next(
        one for one in result.diagnostics.indicators if one.name == "random points beat the attacks"
    )
    assert f"broke {len(broken)} of" in indicator.message
    assert broken


def test_a_probe_that_breaks_an_example_only_once_is_no_witness():
    """What was answered wrongly at first is answered rightly when it is asked again."""
    x, y = points().batch(np.arange(8))
    calls = iter((True, False))

    def model(z):
        right = nn.functional.one_hot(y, 2).float()
        return 1 - right if next(calls) else right

    ids = torch.arange(8)
    assert len(confirmed_witnesses("probe", model, Linf(0.1), x, y, ids, x)) == 8
    assert confirmed_witnesses("probe", model, Linf(0.1), x, y, ids, x) == []


def test_a_point_outside_the_threat_is_no_witness():
    x, y = points().batch(np.arange(2))
    z = torch.stack([(x[0] + 0.2).clamp(max=1), x[1]])
    found = confirmed_witnesses(
        "probe", lambda q: 1 - nn.functional.one_hot(y, 2).float(), Linf(0.1), x, y, torch.tensor([4, 7]), z
    )
    assert [one.row for one in found] == [7]


def probabilities(x):
    return net()(x).softmax(1)


def percentages(x):
    return (100 * probabilities(x)).double()


def counts(x):
    """The votes of 1,000 nets, for which the cross-entropy has no slope."""
    return (1000 * probabilities(x)).round()


@pytest.mark.parametrize("scores", [probabilities, percentages, counts])
def test_scores_may_be_probabilities_or_votes_where_no_gradient_is_used(scores):
    box = Box("scores", lambda: scores)
    trust = box.run_attacks(Linf(0.05), {"square": Square(600)}).diagnostics
    assert trust.summary == "high"
    assert box.num_queries > 0


def test_labels_alone_are_probed_without_gradients():
    trust = Box("labels").run_attacks(Linf(0.05), {"square": RandomCorners()}).diagnostics
    assert {indicator.name for indicator in trust.triggered} <= {"random points beat the attacks"}


def test_logits_far_above_zero_are_no_probabilities():
    assert "outputs that look like probabilities" not in triggered_names(
        lambda inner, x: inner(x).double() + 1e7
    )


STILL = "scores do not move"


def low_digit(x):
    """Noise that belongs to the input, and no attack can follow: what rounded scores hide behind."""
    hashed = (1e4 * (x * torch.linspace(1, 9, x.shape[1])).sum(1, keepdim=True)).frac().abs()
    return 0.01 * hashed * torch.tensor([1.0, 0.5])


VOTES = {
    "one-hot": lambda x: nn.functional.one_hot(net()(x).argmax(1), 2).float(),
    "plus or minus 1": lambda x: 2 * nn.functional.one_hot(net()(x).argmax(1), 2).float() - 1,
    "logs of votes": lambda x: nn.functional.one_hot(net()(x).argmax(1), 2).float().log(),
    "rounded": lambda x: (net()(x) / 8).round() * 8,
    "rounded, with a low digit that moves": lambda x: (net()(x) / 8).round() * 8 + low_digit(x),
    "votes, with a low digit that moves": lambda x: (
        nn.functional.one_hot(net()(x).argmax(1), 2) + low_digit(x) / 8
    ),
    "saturated": lambda x: (1e4 * net()(x)).softmax(1),
}


@pytest.mark.parametrize(
    ("name", "target"),
    [
        pytest.param(name, target, marks=() if (row + column) % 2 else pytest.mark.exhaustive)
        for row, name in enumerate(VOTES)
        for column, target in enumerate((1, None))
    ],
)
def test_scores_that_do_not_move_are_indicated(name, target):
    """Each kind of scores with a target or without by turns, all of both in the exhaustive suite."""
    scores = VOTES[name]
    x, y = points().batch(range(80))
    data = points() if target is None else from_arrays(x[y != target].numpy(), y[y != target].numpy())
    model, attacks = named_model(Box("scores", lambda: scores), "m", "m"), {"square": Square(600)}
    trust = run_attacks(model, data, [Linf(0.1)], attacks, target_class=target).diagnostics
    assert STILL in {indicator.name for indicator in trust.triggered}
    assert "--attack hopskipjump" in trust.summary


def test_scores_that_do_not_move_do_not_matter_where_labels_were_attacked():
    votes = VOTES["plus or minus 1"]
    attacks = {"square": Square(600), "hopskipjump": HopSkipJump(1500)}
    whole = Box("scores", lambda: votes).run_attacks(Linf(0.02), attacks)
    assert np.isinf(whole.examples.broken_radius).any()
    assert whole.diagnostics.summary == "high"
    few = Box("scores", lambda: votes).run_attacks(
        Linf(0.02), {"square": Square(600), "hopskipjump": HopSkipJump(50)}
    )
    assert STILL in {indicator.name for indicator in few.diagnostics.triggered}


@pytest.mark.parametrize("threat", [Linf(0.0), Linf(0.001), Linf(0.05), Linf(0.2), L2(0.001), L2(0.1)])
def test_honest_scores_move(threat):
    trust = Box("scores").run_attacks(threat, {"square": Square(600)}).diagnostics
    assert STILL not in {indicator.name for indicator in trust.triggered}
