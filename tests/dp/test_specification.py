"""What a mechanism is measured with reaches every rule; what is measured of a net of one's own sees each of
its weights.
"""

import random
from dataclasses import dataclass, replace
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import nn

from quintain.dp import PrivatePlan, fit
from quintain.dp.capture.captured_pass import CapturedPass
from quintain.dp.mechanism_tests import _noise, _sensitivity, inclusion_measurements, measurements
from quintain.dp.observed_training import TRAINERS, TrackedRecords, fit_with_interruption
from quintain.dp.own_net import BLOCK, noise_of_net, sensitivity_of_net
from quintain.dp.per_example import grads
from quintain.dp.randomness.stream import RandomStream
from quintain.dp.replay import Drift, Replay, weights_measurement
from quintain.dp.rules import RULES
from quintain.dp.rules.convolutions import ConvGrads
from quintain.dp.specimens import EveryLayer, hostile_records, layers_without_gradient
from quintain.dp.step import clipping_weights, private_step
from quintain.dp.step.clipped_sum import FloatClippedSum
from quintain.dp.training.features import Features
from quintain.dp.training.resume import ResumableRun
from quintain.results.specification import Measurement, bonferroni_tests

PLAN = PrivatePlan(noise_multiplier=1.5, max_grad_norm=0.7, expected_batch_size=8, steps=4, learning_rate=0.1)
KINDS = sorted(
    (kind for kind in RULES if kind.__module__.startswith("torch.")), key=lambda kind: kind.__name__
)


@pytest.mark.filterwarnings("error:this module was trained for")
def test_a_training_that_goes_on_half_way_warns_of_no_other_one():
    steps = []
    fit_with_interruption(nn.Linear(4, 2), records(), PLAN, on_step=lambda step, _release: steps.append(step))
    assert len(steps) == PLAN.steps


def test_every_kind_of_layer_with_a_rule_is_there():
    assert {type(module) for module in EveryLayer(0, 1.0).modules()} >= set(KINDS)
    assert len(KINDS) > 20


@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_step_of_a_training_is_observed(trainer):
    net, x = nn.Linear(4, 2), torch.rand(20, 4)
    before = torch.cat([p.detach().flatten() for p in net.parameters()])
    steps = TRAINERS[trainer](net, x, torch.zeros(20, dtype=torch.long), PLAN, 0)
    assert len(steps) == PLAN.steps
    after = torch.cat([p.detach().flatten() for p in net.parameters()])
    torch.testing.assert_close(after, before - PLAN.learning_rate * sum(step.release for step in steps))


# ``tests/laws/test_dp.py`` measures the same by both trainers.
@pytest.mark.parametrize("trainer", [pytest.param("fit", marks=pytest.mark.exhaustive), "loop"])
def test_the_record_that_moves_the_sum_most_moves_it_by_the_bound(trainer):
    found = _sensitivity(PLAN, TRAINERS[trainer], seed=3)
    assert found.p_value == 1
    assert found.measured == pytest.approx(0.7, rel=1e-6)


def test_hostile_records_press_against_the_bound_through_every_layer():
    """At the plainest of the records, each layer has a gradient far above what rounding could hide."""
    net = EveryLayer(0, 100.0)
    x, y = hostile_records(net)
    nn.functional.cross_entropy(net(x[:1]), y[:1]).backward()
    for branch in net.branches:
        assert sum(float(p.grad.square().sum()) for p in branch.parameters()) ** 0.5 > 0.1


@dataclass(frozen=True)
class Run:
    """A real run of ``_sensitivity``: its net, its steps, and the passes that they come of, to be clipped
    again by broken code.
    """

    net: nn.Module
    steps: list
    passes: list

    def trainer(self, turned=lambda turn: turn):
        """A trainer that repeats the run, each pass replaced by what ``turned`` makes of it."""

        def again(_net, _x, _y, plan, _seed):
            steps = []
            for (parameters, turn, clip, mean), step in zip(self.passes, self.steps, strict=True):
                found, weights, _ = clipping_weights.clipping_weights(
                    parameters, turned(turn), clip, mean=mean
                )
                sums = [torch.zeros(p.shape, dtype=torch.float64) for p in parameters]
                for into, p, weight in zip(sums, parameters, weights, strict=True):
                    if p in found:
                        found[p].add_weighted_sum_to(into, weight)
                release = torch.cat([into.flatten() for into in sums]) / plan.expected_batch_size
                steps.append(replace(step, release=release))
            return steps

        return again


@pytest.fixture(scope="module")
def run():
    found, real = [], private_step.clipping_weights

    def kept(parameters, turn, clip, *, mean):
        found.append(
            (parameters, CapturedPass(turn.physical_batch, dict(turn.gradients), turn.batch_size), clip, mean)
        )
        return real(parameters, turn, clip, mean=mean)

    def watched(net, *settings):
        nets.append(net)
        steps.extend(TRAINERS["fit"](net, *settings))
        return steps

    nets, steps = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(private_step, "clipping_weights", kept)
        assert _sensitivity(PLAN, watched, seed=0).p_value == 1
    return Run(nets[0], steps, found)


def test_a_run_that_is_repeated_is_the_same(run):
    again = run.trainer()(
        None, None, None, replace(PLAN, expected_batch_size=len(hostile_records(run.net)[0]) // 2), 0
    )
    for one, other in zip(again, run.steps, strict=True):
        torch.testing.assert_close(one.release, other.release.double(), rtol=1e-9, atol=1e-9)
    assert _sensitivity(PLAN, run.trainer(), seed=0).p_value == 1


class Half:
    """Gradients that understate their norms."""

    def __init__(self, of):
        self.of = of

    def squared_norms(self):
        return 0.5 * self.of.squared_norms()

    def zeroed_where(self, gone):
        return Half(self.of.zeroed_where(gone))

    def __getattr__(self, name):
        return getattr(self.of, name)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_norm_that_one_kind_of_layer_understates_is_seen(kind, run):
    marked = {p for module in run.net.modules() if type(module) is kind for p in module.parameters()}

    def understated(turn):
        return replace(
            turn, gradients={p: Half(of) if p in marked else of for p, of in turn.gradients.items()}
        )

    found = _sensitivity(PLAN, run.trainer(understated), seed=0)
    assert marked
    assert found.p_value == 0
    assert found.measured > 0.7


def understate(monkeypatch, form, share=0.25, of=None):
    real = form.squared_norms
    monkeypatch.setattr(
        form,
        "squared_norms",
        lambda found: real(found) * (share if of is None or found.rows.dtype == of else 1.0),
    )


@pytest.mark.parametrize(
    "form",
    [ConvGrads, grads.OuterProductGrads, grads.TableRowGrads, grads.BlockGrads, grads.SummedGrads],
    ids=lambda form: form.__name__,
)
def test_a_norm_that_one_form_of_gradients_understates_is_seen(form, run, monkeypatch):
    understate(monkeypatch, form)
    assert _sensitivity(PLAN, run.trainer(), seed=0).p_value == 0


class Bfloat(nn.Module):
    """Layers that run in bfloat16."""

    def __init__(self, *layers):
        super().__init__()
        self.net = nn.Sequential(*layers)

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.net(x)


NETS = {
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2)
    ),
    "dropout": lambda: nn.Sequential(nn.Flatten(), nn.Linear(100, 8), nn.Dropout(), nn.Linear(8, 3)),
    "norm": lambda: nn.Sequential(nn.Flatten(), nn.Linear(100, 8), nn.GroupNorm(2, 8), nn.Linear(8, 3)),
    "bfloat16": lambda: Bfloat(nn.Flatten(), nn.Linear(100, 8), nn.ReLU(), nn.Linear(8, 3)),
}


@pytest.mark.parametrize("name", NETS)
def test_a_net_of_ones_own_is_held_to_the_bound_and_stays_as_it_is(name, monkeypatch):
    net = NETS[name]()
    before = [p.clone() for p in net.parameters()]
    found = sensitivity_of_net(net, (1, 10, 10), PLAN)
    assert found.p_value == 1
    assert 0.65 < found.measured < 0.701
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    understate(monkeypatch, grads.DenseGrads, of=torch.float32)
    understate(monkeypatch, grads.OuterProductGrads)
    assert sensitivity_of_net(net, (1, 10, 10), PLAN).p_value == 0


class Turned(nn.Module):
    """Records that are turned at every other pass, as a coin for the whole batch may fall: the first passes
    agree.
    """

    def __init__(self, toss):
        super().__init__()
        self.net, self.toss, self.passes = NETS["convolutions"](), toss, 0

    def forward(self, x):
        self.toss()
        self.passes += 1
        return self.net(x.flip(-1) if self.passes > 3 and self.passes % 2 else x)


@pytest.mark.parametrize("toss", [torch.rand, np.random.random, random.random])
def test_a_net_that_draws_once_for_a_batch_raises_no_alarm(toss):
    found = sensitivity_of_net(Turned(lambda: toss(1) if toss is torch.rand else toss()), (1, 10, 10), PLAN)
    assert found.p_value == 1
    assert "1 records" in found.description
    assert sensitivity_of_net(Turned(lambda: None), (1, 10, 10), PLAN).p_value == 0


def test_a_record_that_moves_what_another_adds_is_seen(monkeypatch):
    """Also through training itself."""
    real = private_step.clipping_weights

    def coupled(parameters, turn, clip, *, mean):
        found, weights, part = real(parameters, turn, clip, mean=mean)
        return found, weights * 6 / max(turn.batch_size or 1, 1), part

    monkeypatch.setattr(private_step, "clipping_weights", coupled)
    assert _sensitivity(PLAN, TRAINERS["fit"], seed=0).p_value == 0


def net_of_two_parts():
    return nn.Sequential(nn.Linear(4, 30), nn.Linear(30, 3000), nn.Linear(3000, 2))


def records(count=40):
    generator = torch.Generator().manual_seed(0)
    return Features(torch.rand(count, 4, generator=generator), torch.arange(count) % 2)


def test_the_noise_of_a_net_is_measured_on_all_of_its_weights_and_the_net_stays_as_it_is(monkeypatch):
    net = net_of_two_parts()
    before = [p.clone() for p in net.parameters()]
    found, *others = noise_of_net(net, records(), PLAN)
    assert min(one.p_value for one in (found, *others)) > 1e-6
    assert f"noise of {sum(p.numel() for p in net.parameters())} weights" in found.description
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    real = RandomStream.add_gaussian

    def missing(stream, into, scale, by=1):
        real(stream, into, scale, by)
        into[-2:] = 0

    monkeypatch.setattr(RandomStream, "add_gaussian", missing)
    assert noise_of_net(net, records(), PLAN)[0].p_value == 0


def test_noise_of_a_net_that_begins_anew_for_each_parameter_is_seen(monkeypatch):
    def anew(sums, stream, scale, by):
        key = stream.words(4).tobytes()
        for part in sums.flat.split([p.numel() for p in sums._parameters]):
            RandomStream(key).add_gaussian(part, scale, by)

    monkeypatch.setattr(FloatClippedSum, "add_noise", anew)
    found = noise_of_net(
        nn.Sequential(nn.Linear(4, 64), nn.Linear(64, 64), nn.Linear(64, 64)), records(), PLAN
    )
    spread, autocorrelation = found[0], next(one for one in found if one.name.endswith("autocorrelation"))
    assert spread.p_value > 1e-9
    assert autocorrelation.p_value < 1e-9
    assert "4160 numbers further on" in autocorrelation.description


def kept_noise(sums, stream, scale, by, key):
    """Noise that is drawn once for all parameters, or all steps, of one key."""
    z = stream.normal(len(sums.flat), sums.flat.dtype)
    kept = sums.__dict__.setdefault("kept", {})
    parts = z.split([p.numel() for p in sums._parameters])
    for i, (p, part) in enumerate(zip(sums._parameters, parts, strict=True)):
        if (of := key(i, p)) is not None:
            part.copy_(kept.setdefault(of, part.clone()))
    sums.flat.add_(z, alpha=scale).mul_(1 / by)


KEPT = {
    "of biases": (lambda i, p: i if p.dim() == 1 else None, "step"),
    "of small parameters": (lambda i, p: i if p.numel() <= 64 else None, "step"),
    "of one number": (lambda i, p: i if p.numel() == 1 else None, "step"),
    "of equally long parameters": (lambda _, p: p.numel() if p.numel() <= 64 else None, "parameter"),
}


@pytest.mark.parametrize("kept", KEPT)
def test_noise_of_a_small_parameter_that_comes_again_is_seen(kept, monkeypatch):
    """Too few numbers to be seen among all of them."""
    key, where = KEPT[kept]
    net = nn.Sequential(nn.Linear(4, 64), nn.Linear(64, 64), nn.Linear(64, 8), nn.PReLU(8), nn.PReLU())

    def found():
        tests = bonferroni_tests(noise_of_net(net, records(), PLAN))
        return {one.name for one in tests if not one.passed}

    assert found() == set()
    monkeypatch.setattr(FloatClippedSum, "add_noise", lambda *given: kept_noise(*given, key))
    seen = found()
    assert seen >= {f"noise of the net{signs} in another {where}" for signs in ("", " without signs")}
    assert not any("autocorrelation" in name for name in seen)


def test_noise_of_a_small_layer_that_comes_again_in_a_loop_of_ones_own_is_seen(monkeypatch):
    key, _ = KEPT["of biases"]
    monkeypatch.setattr(FloatClippedSum, "add_noise", lambda *given: kept_noise(*given, key))
    found = {one.name for one in bonferroni_tests(_noise(PLAN, TRAINERS["loop"], None)) if not one.passed}
    assert found == {"noise in another step", "noise without signs in another step"}


def test_the_net_that_noise_is_measured_with_is_larger_than_what_is_drawn_at_a_time():
    assert sum(p.numel() for p in layers_without_gradient().parameters()) > 2 * BLOCK


def test_watched_records_tell_the_rows_of_each_batch():
    watched = TrackedRecords(records())
    watched.batch([3, 1])
    watched.batch([1])
    assert watched.pop_read_rows().tolist() == [1, 1, 3]
    assert watched.pop_read_rows().tolist() == []
    seen = []
    watched = TrackedRecords(records())
    fit(nn.Linear(4, 2), watched, PLAN, seed=0, on_step=lambda *_: seen.append(watched.pop_read_rows()))
    assert len(seen) == 4
    assert {row for rows in seen for row in rows.tolist()} <= set(range(40))


def test_a_run_that_is_measured_keeps_its_state_first_half_way_and_last_alone(monkeypatch):
    saved, save = [], ResumableRun.save

    def counted(kept, net, optimizer, ema=None):
        saved.append(optimizer.steps)
        save(kept, net, optimizer, ema)

    monkeypatch.setattr(ResumableRun, "save", counted)
    fit_with_interruption(nn.Linear(4, 2), records(), replace(PLAN, steps=60))
    assert saved == [0, 30, 60]


def test_few_batches_raise_no_alarm_by_a_law_that_holds_for_many():
    rng = np.random.default_rng(0)
    lowest = 1.0
    for _ in range(500):
        batches = [np.flatnonzero(rng.random(30) < 0.1) for _ in range(5)]
        lowest = min(lowest, *(found.p_value for found in inclusion_measurements(batches, 30, 0.1)))
    assert lowest > 1e-6


def test_one_draw_at_a_rate_of_one_half_raises_no_alarm_by_counts_that_are_all_as_far_from_their_mean():
    """Nor does a batch of exactly the size that is expected, as one in forty is here."""
    batch = np.arange(0, 1000, 2)
    assert min(one.p_value for one in inclusion_measurements([batch], 1000, 0.5)) > 1e-6


@pytest.mark.parametrize("q", [0.5, 1.0])
def test_a_record_that_is_in_a_batch_twice_is_seen(q):
    batches = [np.arange(0, 400, round(1 / q))] * 2
    (once,) = (one for one in inclusion_measurements(batches, 400, q) if one.name == "records twice")
    (twice,) = (
        one
        for one in inclusion_measurements([batches[0], np.append(batches[1], 8)], 400, q)
        if one.name == "records twice"
    )
    assert (once.p_value, twice.p_value, twice.measured) == (1, 0, 1)


def made_exact(monkeypatch, change):
    """Noise that is changed before it is added: ``change`` of the numbers of each parameter, or of all as
    one.
    """

    def release(sums, stream, scale, by):
        z = stream.normal(len(sums.flat), sums.flat.dtype)
        sums.flat.add_(change(z, [p.numel() for p in sums._parameters]), alpha=scale).mul_(1 / by)

    monkeypatch.setattr(FloatClippedSum, "add_noise", release)


EXACT = {
    "one length": (lambda z, _: z * (len(z) ** 0.5 / z.norm()), {"squares"}),
    "one mean and spread": (lambda z, _: (z - z.mean()) / z.std(correction=0), {"sums", "squares"}),
    "one mean of each parameter": (
        lambda z, parts: torch.cat([one - one.mean() for one in z.split(parts)]),
        {"sums"},
    ),
    "one length of each parameter": (
        lambda z, parts: torch.cat([one * (len(one) ** 0.5 / one.norm()) for one in z.split(parts)]),
        {"squares"},
    ),
}


@pytest.mark.parametrize("fault", EXACT)
def test_noise_of_a_net_that_comes_out_too_exactly_is_seen(fault, monkeypatch):
    change, expected = EXACT[fault]
    made_exact(monkeypatch, change)
    found = {
        one.name: one
        for one in bonferroni_tests(
            noise_of_net(nn.Sequential(nn.Linear(4, 64), nn.Linear(64, 10)), records(), PLAN)
        )
    }
    assert {name for name, one in found.items() if not one.passed} == {
        f"noise of the net, {one}" for one in expected
    }


class Times(nn.Module):
    """A layer whose outputs are multiplied."""

    def __init__(self, factor):
        super().__init__()
        self.layer, self.factor = nn.Linear(100, 3), factor

    def forward(self, x):
        return self.layer(x.flatten(1)) * self.factor


@pytest.mark.parametrize("factor", [torch.nan, 0.0])
def test_a_net_whose_records_have_no_gradient_is_not_measured(factor):
    assert sensitivity_of_net(Times(factor), (1, 10, 10), PLAN) is None
    assert sensitivity_of_net(Times(1.0), (1, 10, 10), PLAN).p_value == 1


@pytest.mark.parametrize(
    "plan",
    [PLAN, replace(PLAN, steps=30, learning_rate=2.0, momentum=0.9, ema_decay=0.9)],
    ids=["plain", "momentum and mean"],
)
def test_weights_are_where_the_releases_lead(plan):
    net, drifts = net_of_two_parts(), []
    replay = Replay(net.parameters(), plan)
    fit(net, records(), plan, on_step=lambda _step, release: drifts.append(replay.step(release)))
    drifts.append(replay.end())
    assert weights_measurement(drifts).p_value == 1
    with torch.no_grad():
        net[2].bias[0] += 1e-2
    assert weights_measurement([*drifts, replay.end()]).p_value == 0


@pytest.mark.parametrize("trainer", TRAINERS)
def test_weights_that_move_by_other_than_what_was_released_are_seen(trainer, monkeypatch):
    module = import_module(torch.optim.SGD.__module__)
    real = module.sgd

    def weights():
        return next(
            one for one in measurements(PLAN, 40, trainers=[trainer]) if one.name == f"weights, {trainer}"
        )

    monkeypatch.setattr(
        "quintain.dp.mechanism_tests._sensitivity",
        lambda *_: Measurement("sensitivity", 0.0, 0.0, 1.0, "left out"),
    )
    monkeypatch.setattr("quintain.dp.mechanism_tests._inclusion", lambda *_: ())
    assert weights().p_value == 1
    monkeypatch.setattr(module, "sgd", lambda *given, lr, **words: real(*given, lr=0.99 * lr, **words))
    assert weights().p_value == 0


def test_weights_whose_rounding_hides_the_noise_are_not_measured_unless_they_are_further_off():
    assert weights_measurement([Drift(0.5, 1.0, 2.0)]) is None
    assert weights_measurement([Drift(1.5, 1.0, 2.0)]).p_value == 0
    assert weights_measurement([Drift(0.1, 0.2, 2.0)]).p_value == 1
    assert weights_measurement([Drift(float("nan"), 0.2, 2.0)]).p_value == 0
    net, plan, drifts = nn.Linear(4, 2), replace(PLAN, learning_rate=1e-7), []
    replay = Replay(net.parameters(), plan)
    fit(net, records(), plan, on_step=lambda _step, release: drifts.append(replay.step(release)))
    assert all(one.distance <= one.rounding_bound for one in drifts)
    assert weights_measurement(drifts) is None
