import math
from queue import SimpleQueue

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from quintain.certify import SmoothedClassifier
from quintain.certify.noisy_votes import BATCH_ELEMENTS
from quintain.core.errors import DataError, ModelError, SettingError
from quintain.core.statistics import binomial_lower
from quintain.models import Classifier
from quintain.threats import L2, Linf
from tests.certify.smoothed_models import Counting, drained, halfspace

pytestmark = pytest.mark.rounding


@pytest.mark.parametrize("sigma", [0.1, 0.25, 1.0])
def test_a_halfspace_has_its_distance_as_radius_for_every_sigma(sigma):
    model = halfspace([3.0, -4.0], 0.5)
    x = torch.tensor([[0.5, 0.1], [0.6, 0.05], [0.2, 0.1], [0.9, 0.05]])
    exact = (x @ torch.tensor([3.0, -4.0]) - 0.5).double() / 5
    y = (exact > 0).long()
    smooth = SmoothedClassifier(model, sigma, noise_samples=4000, selection_samples=100)
    outcome = smooth.certify(x, y, seed=1)
    size = exact.abs()
    assert outcome.certified.all()
    assert outcome.radius is not None
    assert (outcome.radius < size).all()
    near = size < 2 * sigma
    assert (outcome.radius > size - 0.15 * sigma)[near].all()
    assert (outcome.forwards == 4100).all()


def test_a_ball_is_certified_exactly_where_the_radius_exceeds_it():
    model, x = halfspace([1.0, 0.0], 0.5), torch.tensor([[0.5 + 0.02 * step, 0.5] for step in range(1, 20)])
    smooth, y = SmoothedClassifier(model, 0.25, noise_samples=1000), torch.ones(19, dtype=torch.long)
    by_all = smooth.certify(x, y).radius
    assert by_all is not None
    outcome = smooth.certify(x, y, L2(0.1))
    radius = outcome.radius
    assert radius is not None
    assert torch.equal(outcome.certified, radius > 0.1)
    assert torch.equal(outcome.certified, outcome.margin > 0)
    clear = (by_all - 0.1).abs() > 0.03
    assert clear.sum() >= 15
    assert torch.equal(outcome.certified[clear], (by_all > 0.1)[clear])
    assert outcome.certified.any()
    assert not outcome.certified.all()
    known = radius > 0
    assert outcome.margin[known].abs().lt(1).all()


def test_the_margin_bounds_the_gap_of_the_vote_over_the_ball():
    model, x, y = halfspace([1.0, 0.0], 0.3), torch.tensor([[0.6, 0.5]]), torch.tensor([1])
    smooth, exact = SmoothedClassifier(model, 0.25, noise_samples=20_000), 2 * norm.cdf(0.2 / 0.25) - 1
    radius = smooth.certify(x, y).radius
    assert radius is not None
    assert exact - 0.05 < 2 * norm.cdf((radius.item() - 0.1) / 0.25) - 1 < exact
    outcome = smooth.certify(x, y, L2(0.1))
    assert 0 < outcome.margin.item() < exact
    assert outcome.forwards.item() < 200


def test_wrong_and_undecided_examples_get_nothing():
    model = halfspace([1.0, 0.0], 0.5)
    x = torch.tensor([[0.9, 0.5], [0.5, 0.5]])
    outcome = SmoothedClassifier(model, 0.25, noise_samples=500).certify(x, torch.tensor([0, 1]))
    assert not outcome.certified.any()
    assert outcome.radius is not None
    assert (outcome.radius == 0).all()
    assert outcome.margin[0] == -math.inf
    assert outcome.forwards[0] == 30
    assert not outcome.failed.any()


def test_predictions_abstain_on_the_boundary_alone():
    model, x = halfspace([1.0, 0.0], 0.5), torch.tensor([[0.9, 0.5], [0.5, 0.5], [0.1, 0.5]])
    assert SmoothedClassifier(model, 0.25).predict(x, noise_samples=400).tolist() == [1, -1, 0]


def test_draws_belong_to_the_example():
    model, smooth = halfspace([1.0, 0.0], 0.4), None
    smooth = SmoothedClassifier(model, 0.25, noise_samples=300)
    x, ids = torch.rand(6, 2) * 0.2 + 0.4, torch.tensor([5, 3, 9, 1, 0, 7])
    y = torch.ones(6, dtype=torch.long)
    whole = smooth.certify(x, y, seed=4, ids=ids)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = smooth.certify(x[order], y[order], seed=4, ids=ids[order])
    assert torch.equal(shuffled.margin, whole.margin[order])
    for rows in (slice(0, 2), slice(2, 6)):
        assert torch.equal(smooth.certify(x[rows], y[rows], seed=4, ids=ids[rows]).margin, whole.margin[rows])
    assert not torch.equal(smooth.certify(x, y, seed=5, ids=ids).margin, whole.margin)


def test_a_false_certificate_is_as_rare_as_it_says():
    for probability, draws, alpha in ((0.5, 200, 0.05), (0.9, 500, 0.01), (0.99, 1000, 0.001)):
        hits = np.random.default_rng(0).binomial(draws, probability, 40_000)
        values, counts = np.unique(hits, return_counts=True)
        false = sum(
            count
            for hit, count in zip(values, counts, strict=True)
            if binomial_lower(int(hit), draws, 1 - alpha) > probability
        )
        assert false / 40_000 <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / 40_000)


def test_a_prediction_is_wrong_as_rarely_as_it_says():
    model, x = halfspace([1.0, 0.0], 0.5), torch.full((600, 2), 0.5)
    answers = SmoothedClassifier(model, 0.25, alpha=0.05).predict(x, noise_samples=100)
    decided = int((answers >= 0).sum())
    assert decided <= 600 * 0.05 + 3 * math.sqrt(600 * 0.05 * 0.95)


def test_the_ceiling_is_what_agreement_of_all_draws_proves():
    smooth = SmoothedClassifier(halfspace([1.0, 0.0], -1e6), 0.5, noise_samples=1000)
    outcome = smooth.certify(torch.rand(1, 2), torch.tensor([1]))
    assert outcome.radius is not None
    assert outcome.radius.item() == smooth.max_radius
    assert smooth.max_radius == pytest.approx(0.5 * norm.ppf(0.001 ** (1 / 1000)), rel=1e-9)
    assert smooth.max_radius < 0.5 * norm.ppf(0.001 ** (1 / 1000))


def test_nan_is_an_error_and_no_answer():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2)).eval()
    with torch.no_grad():
        net[1].weight.fill_(math.nan)
    smooth, x = SmoothedClassifier(Classifier(net), 0.25, noise_samples=100), torch.rand(2, 2)
    outcome = smooth.certify(x, torch.zeros(2, dtype=torch.long))
    assert outcome.failed.all()
    assert not outcome.certified.any()
    assert smooth.predict(x).tolist() == [-1, -1]


class Edge(nn.Module):
    """Class 1 above the middle between two neighbours in float16, as a net in float32 or float16."""

    def __init__(self, dtype):
        super().__init__()
        self.register_buffer("middle", torch.tensor(0.75, dtype=dtype))

    def forward(self, x):
        above = x.flatten(1)[:, 0] - self.middle
        return torch.stack([-above, above], 1)


@pytest.mark.parametrize(
    ("dtype", "least"),
    [(torch.float16, 16 * 2.0**-10), (torch.bfloat16, 16 * 2.0**-7), (torch.float32, 16 * 2.0**-23)],
)
def test_noise_that_the_type_of_inputs_or_model_would_round_away_is_refused(dtype, least):
    x, y = torch.full((1, 1), 0.75), torch.tensor([1])
    for base, inputs in ((torch.float32, dtype), (dtype, torch.float32)):
        model = Classifier(Edge(base).eval())
        for ask in (
            lambda smooth: smooth.certify(x.to(inputs), y),  # noqa: B023
            lambda smooth: smooth.predict(x.to(inputs), noise_samples=50),  # noqa: B023
        ):
            with pytest.raises(SettingError, match="is lost in"):
                ask(SmoothedClassifier(model, least * 0.99, noise_samples=50))
            ask(SmoothedClassifier(model, least, noise_samples=50))


def test_noise_is_added_to_half_precision_inputs_in_float32():
    class Seeing(Edge):
        def forward(self, x):
            self.seen.put(x)
            return super().forward(x)

    x, y = torch.full((1, 1), 0.75, dtype=torch.float16), torch.tensor([1])
    net = Seeing(torch.float32).eval()
    net.seen = SimpleQueue()
    smooth = SmoothedClassifier(Classifier(net), 1 / 64, noise_samples=1000)
    for ask in (
        lambda: smooth.certify(x, y),
        lambda: smooth.predict(x, noise_samples=1000),
        lambda: smooth(x),
    ):
        ask()
        noisy = torch.cat([value.flatten() for value in drained(net.seen) if len(value) > 1])
        assert noisy.dtype == torch.float32
        assert (noisy.half().float() != noisy).float().mean() > 0.9
    wide = smooth.certify(x.float(), y)
    assert torch.equal(wide.margin, smooth.certify(x, y).margin)


@pytest.mark.parametrize(
    "norm",
    [nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False).eval()],
    ids=["training", "no statistics"],
)
def test_a_base_that_normalises_by_its_batch_is_refused_and_left_alone(norm):
    model = Classifier(nn.Sequential(norm, nn.Linear(2, 2)), allow_train_mode=True)
    before = model.hash
    for ask in (
        lambda: SmoothedClassifier(model, 0.25).certify(torch.rand(1, 2), torch.tensor([0])),
        lambda: SmoothedClassifier(model, 0.25).predict(torch.rand(1, 2)),
    ):
        with pytest.raises(ModelError, match="statistics of each batch"):
            ask()
    assert model.hash == before


def test_a_base_that_changes_while_it_is_certified_is_refused():
    class Ageing(Edge):
        def forward(self, x):
            self.middle += 1e-6
            return super().forward(x)

    with pytest.raises(ModelError, match="changes while"):
        SmoothedClassifier(Classifier(Ageing(torch.float32).eval()), 0.25, noise_samples=50).certify(
            torch.rand(1, 1), torch.tensor([0])
        )


def squeezed(x):
    return x.mul_(1.0).round_().div_(1.0)


def standardized(x):
    return x.sub_(0.5).div_(0.25)


class Writing(nn.Module):
    """Prepares its input, in place or on a copy; class 0 above the middle of what comes of it."""

    def __init__(self, prepare, *, in_place):
        super().__init__()
        self.prepare, self.in_place = prepare, in_place
        self.register_buffer("middle", prepare(torch.tensor([0.375])).clone())

    def forward(self, x):
        above = self.prepare(x if self.in_place else x.clone()).flatten(1).mean(1) - self.middle
        return torch.stack([above, -above], 1)


@pytest.mark.parametrize("shape", [(2, 4), (2, 1, 2, 2)])
@pytest.mark.parametrize("prepare", [squeezed, standardized])
def test_a_net_that_writes_into_its_input_gets_the_certificates_of_one_that_does_not(prepare, shape):
    x, y = torch.full(shape, 0.52), torch.zeros(2, dtype=torch.long)
    smooth, apart = (
        SmoothedClassifier(Classifier(Writing(prepare, in_place=where).eval()), 0.25, noise_samples=500)
        for where in (True, False)
    )
    found = smooth.certify(x, y, ids=torch.zeros(2, dtype=torch.long))
    assert torch.equal(x, torch.full(shape, 0.52))
    assert found.radius is not None
    assert found.radius[0] == found.radius[1] > 0  # equal rows under equal noise
    assert torch.equal(found.margin, apart.certify(x, y, ids=torch.zeros(2, dtype=torch.long)).margin)
    assert torch.equal(smooth.predict(x, noise_samples=100), apart.predict(x, noise_samples=100))
    assert torch.equal(smooth(x), apart(x))
    assert torch.equal(x, torch.full(shape, 0.52))


class Stretching(nn.Module):
    """Stretches inputs to [0, 1]: all of a batch together, by mistake."""

    def forward(self, x):
        stretched = (x - x.min()) / (x.max() - x.min())
        return torch.stack([torch.full_like(stretched[:, 0], 1.42), stretched.sum(1)], 1)


class FailingFirst(nn.Module):
    """Gives no number for an input of zeros, alone and in a batch; what it gives for others moves with their
    batch.
    """

    def forward(self, x):
        moved = torch.where((x == 0).all(1), torch.nan, x[:, 0] + x.mean())
        return torch.stack([moved, -moved], 1)


@pytest.mark.parametrize("kind", [Stretching, FailingFirst])
def test_a_base_that_answers_by_its_batch_is_refused_though_the_first_example_gives_no_number(kind):
    x = torch.cat([torch.zeros(1, 4), torch.tensor([[0.0, 0.0, 0.0, 1.0]])])
    smooth = SmoothedClassifier(Classifier(kind().eval()), 0.25, noise_samples=50)
    for ask in (
        lambda: smooth.certify(x, torch.tensor([1, 1])),
        lambda: smooth.predict(x, noise_samples=50),
    ):
        with pytest.raises(ModelError, match="alone than in a batch of 4 "):
            ask()


def test_a_base_that_gives_no_number_for_some_examples_is_not_said_to_answer_by_its_batch():
    class Stretched(nn.Module):
        def forward(self, x):
            low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
            stretched = (x - low) / (high - low)
            return torch.stack([stretched.sum(1), torch.full_like(stretched[:, 0], 1.42)], 1)

    x = torch.cat([torch.zeros(1, 4), torch.rand(2, 4)])
    smooth = SmoothedClassifier(Classifier(Stretched().eval()), 0.25, noise_samples=50)
    assert not smooth.certify(x, torch.zeros(3, dtype=torch.long)).failed.any()


def test_dropout_in_training_mode_is_refused():
    smooth = SmoothedClassifier(
        Classifier(nn.Sequential(nn.Dropout(0.1), nn.Linear(2, 2)), allow_train_mode=True),
        0.25,
        noise_samples=50,
    )
    for ask in (
        lambda: smooth.certify(torch.rand(1, 2), torch.tensor([0])),
        lambda: smooth.predict(torch.rand(1, 2)),
    ):
        with pytest.raises(ModelError, match=r"is in training mode.*net\.eval\(\)"):
            ask()


def test_nan_of_one_example_is_its_own():
    class Cliff(nn.Module):
        def forward(self, x):
            return torch.stack([torch.where(x[:, 0] > 0.9, torch.nan, 0.0), x[:, 0] + 5], 1)

    smooth, x = (
        SmoothedClassifier(Classifier(Cliff().eval()), 0.1, noise_samples=100),
        torch.tensor([[0.1], [0.9]]),
    )
    outcome = smooth.certify(x, torch.ones(2, dtype=torch.long))
    assert outcome.failed.tolist() == [False, True]
    assert outcome.certified.tolist() == [True, False]
    assert smooth.predict(x).tolist() == [1, -1]


def test_the_default_type_of_numbers_changes_no_draw():
    smooth, x, y = (
        SmoothedClassifier(halfspace([1.0, 0.0], 0.4), 0.25, noise_samples=200),
        torch.rand(4, 2),
        torch.ones(4, dtype=torch.long),
    )
    before = smooth(x), smooth.certify(x, y).margin
    torch.set_default_dtype(torch.float64)
    try:
        after = smooth(x), smooth.certify(x, y).margin
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_memory_is_bounded_by_the_pack():
    net = Counting().eval()
    x = torch.rand(1, 3, 40, 40)
    SmoothedClassifier(Classifier(net), 0.25, noise_samples=500).certify(
        x, torch.tensor([int(x.mean() < 0.5)])
    )
    sizes = drained(net.seen)
    assert max(sizes) <= BATCH_ELEMENTS
    assert sum(size // 4800 for size in sizes if size > 4800) >= 500


def test_a_net_that_needs_contiguous_inputs_is_served():
    class Viewing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return self.conv(x).view(len(x), -1)[:, :2]

    x = torch.rand(2, 3, 6, 6)
    smooth = SmoothedClassifier(Classifier(Viewing().eval()), 0.1, noise_samples=50)
    assert smooth.certify(x, torch.zeros(2, dtype=torch.long)).failed.eq(False).all()
    assert smooth.predict(x, noise_samples=50).shape == (2,)


def test_the_surrogate_is_the_log_of_the_mean_softmax():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    smooth, x = (
        SmoothedClassifier(Classifier(net), 0.25, surrogate_samples=5),
        torch.rand(3, 1, 2, 2).requires_grad_(),
    )
    logits = smooth(x)
    assert torch.equal(logits, smooth(x))
    torch.testing.assert_close(smooth(x[1:2]), logits[1:2])
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(3))
    (slope,) = torch.autograd.grad(logits[:, 0].sum(), x)
    assert slope.abs().sum() > 0
    wide = SmoothedClassifier(Classifier(net), 0.25, surrogate_samples=20_000)(x[:1]).exp()
    noisy = x[:1] + 0.25 * torch.randn(20_000, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(wide[0], net(noisy).softmax(1).mean(0), atol=0.01, rtol=0)


def test_the_hash_tells_settings_and_base_apart():
    model = halfspace([1.0, 0.0], 0.5)
    first = SmoothedClassifier(model, 0.25)
    assert first.hash == SmoothedClassifier(model, 0.25).hash
    others = [
        SmoothedClassifier(model, 0.5),
        SmoothedClassifier(model, 0.25, alpha=0.01),
        SmoothedClassifier(halfspace([1.0, 0.1], 0.5), 0.25),
    ]
    assert len({first.hash, *(other.hash for other in others), model.hash}) == 5


@pytest.mark.parametrize(
    "settings",
    [
        {"sigma": 0.0},
        {"sigma": math.nan},
        {"alpha": 0.0},
        {"alpha": 0.5},
        {"noise_samples": 0},
        {"selection_samples": 0},
        {"surrogate_samples": 0},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(SettingError, match="expected"):
        SmoothedClassifier(halfspace([1.0], 0.5), **{"sigma": 0.25, **settings})


def test_too_few_draws_are_refused_with_the_number_that_would_do():
    with pytest.raises(SettingError, match="at least 10"):
        SmoothedClassifier(halfspace([1.0], 0.5), 0.25, noise_samples=9)
    assert SmoothedClassifier(halfspace([1.0], 0.5), 0.25, noise_samples=10).max_radius > 0
    with pytest.raises(SettingError, match="at least 11"):
        SmoothedClassifier(halfspace([1.0], 0.5), 0.25).predict(torch.rand(1, 1), noise_samples=10)


def test_what_can_never_be_certified_is_refused():
    smooth, x, y = SmoothedClassifier(halfspace([1.0, 0.0], 0.5), 0.25), torch.rand(1, 2), torch.tensor([1])
    with pytest.raises(SettingError, match="never be certified"):
        smooth.certify(x, y, L2(1.0))
    with pytest.raises(SettingError, match="L2"):
        smooth.certify(x, y, Linf(0.1))
    for labels in (y + 1, y[:0], y.double()):
        with pytest.raises(DataError, match="labels"):
            smooth.certify(x, labels)
    for ask in (lambda ids: smooth.certify(x, y, ids=ids), lambda ids: smooth.predict(x, ids=ids)):
        with pytest.raises(DataError, match="ids"):
            ask(torch.arange(2))
    with pytest.raises(DataError, match=r"\[0, 1\]"):
        smooth.certify(x + 1, y)


def test_progress_is_told_of_every_example():
    class Heard:
        def bar(self, label, total):
            from contextlib import nullcontext

            self.total = total
            self.done = 0

            def advance(count):
                self.done += count

            return nullcontext(advance)

    heard = Heard()
    SmoothedClassifier(halfspace([1.0, 0.0], 0.5), 0.25, noise_samples=20).certify(
        torch.rand(5, 2), torch.ones(5, dtype=torch.long), progress=heard
    )
    assert (heard.total, heard.done) == (5, 5)


class _Remembering:
    """A model of a user's own that answers again what it was asked last, without computing."""

    name, access, num_classes, hash = "own", "scores", 2, "h"
    device, dtype = torch.device("cpu"), torch.float32
    asked = answered = None

    def __call__(self, x):
        if self.asked is None or not torch.equal(self.asked, x):
            self.asked, self.answered = x, torch.stack([0.5 - x[:, 0], x[:, 0] - 0.5], 1)
        return self.answered


def test_a_base_that_keeps_what_it_was_asked_gets_no_larger_radius():
    """Memory of noisy copies is written over: what a model is asked must not change under its hands."""
    far, near = [1.0, 0.5], [0.51, 0.5]
    x, y = torch.tensor([far] * 5 + [near] + [far] * 15), torch.ones(21, dtype=torch.long)
    outcome = SmoothedClassifier(_Remembering(), 0.25, noise_samples=100_000).certify(x, y, seed=3)
    assert outcome.radius is not None
    assert outcome.radius[5] <= 0.05
    assert outcome.radius[0] > 0.3
