import itertools
import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from quintain.attacks import APGD
from quintain.certify import IntervalBounds, largest_certified_radius
from quintain.core.errors import ModelError, RunFolderError, SettingError
from quintain.core.progress import CheckpointTimer
from quintain.core.registry import entries
from quintain.core.seeds import derive_seed
from quintain.data.dataset import from_arrays
from quintain.harden import (
    AWP,
    MTLIBP,
    TRADES,
    ConsistencyTraining,
    FastTraining,
    GaussianAugmentation,
    IBPTraining,
    PGDTraining,
    fit,
)
from quintain.harden.forward import eval_mode
from quintain.models import Classifier
from quintain.threats import L2, Linf, contains
from quintain.training import Recipe, StepContext
from quintain.training.kept_weights import copy_weights

pytestmark = pytest.mark.rounding

SHORT = Recipe(epochs=3, batch_size=32, learning_rate=1e-2)
PLANS = [
    PGDTraining(Linf(0.1), SHORT, steps=3),
    IBPTraining(Linf(0.1), SHORT),
    GaussianAugmentation(0.25, SHORT),
    TRADES(Linf(0.1), SHORT, steps=3),
    FastTraining(Linf(0.1), SHORT),
    AWP(Linf(0.1), SHORT, steps=2),
    ConsistencyTraining(0.25, SHORT),
    MTLIBP(Linf(0.1), SHORT, robust_weight=0.6),
    PGDTraining(Linf(0.1), SHORT, steps=2, inner="apgd"),
]


def context(step=0, steps=100):
    return StepContext(step, steps, 0, 1, seed=step, ids=torch.arange(16))


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(16, 1, 4, 4, generator=generator), torch.randint(0, 3, (16,), generator=generator)


def small(seed=0, outputs=3):
    net = nn.Sequential(
        nn.Conv2d(1, 4, 2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(36, 8),
        nn.ReLU(),
        nn.Linear(8, outputs),
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            spread = 1 / math.sqrt(parameter[0].numel()) if parameter.ndim > 1 else 0.1
            parameter.copy_(torch.empty_like(parameter).normal_(generator=generator) * spread)
        net[1].weight.fill_(1.0)
    return net


def squares(count=200, seed=0):
    """Pictures that are bright on the left or on the right, by 0.3, under noise."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    images = 0.35 + 0.1 * generator.random((count, 4, 4))
    images[labels == 0, :, :2] += 0.3
    images[labels == 1, :, 2:] += 0.3
    return from_arrays(images.astype(np.float32), labels)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: type(plan).__name__)
def test_an_objective_is_a_finite_loss_that_leaves_the_net_in_its_modes(plan):
    net, (x, y) = small().train(), batch()
    net[1].eval()
    modes = [module.training for module in net.modules()]
    loss = plan.objective()(net, x, y, context(90))
    assert loss.shape == ()
    assert loss.isfinite()
    assert [module.training for module in net.modules()] == modes
    assert all(parameter.grad is None for parameter in net.parameters())
    loss.backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: type(plan).__name__)
def test_an_objective_depends_on_the_moment_and_on_nothing_else(plan):
    net, (x, y) = small().eval(), batch()
    first = plan.objective()(net, x, y, context(60))
    torch.manual_seed(123)
    assert torch.equal(plan.objective()(net, x, y, context(60)), first)
    if not isinstance(plan, IBPTraining | MTLIBP):
        assert not torch.equal(plan.objective()(net, x, y, context(61)), first)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: type(plan).__name__)
def test_an_objective_serves_a_net_of_one_logit(plan):
    x, y = batch()
    assert plan.objective()(small(outputs=1), x, y.clamp(max=1), context(90)).isfinite()


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5)])
def test_adversarial_training_learns_from_points_that_are_allowed_and_worse(threat):
    net, (x, y) = small().eval(), batch()
    seen = []
    net.register_forward_pre_hook(lambda _net, args: seen.append(args[0].detach().clone()))
    loss = PGDTraining(threat, SHORT, steps=4).objective()(net, x, y, context())
    assert contains(threat, seen[-1], x).all()
    assert loss > F.cross_entropy(net(x), y) + 0.05


def test_interval_training_begins_plain_and_ends_at_its_weight():
    net, (x, y) = small().eval(), batch()
    plan = IBPTraining(Linf(0.05), SHORT, robust_weight=0.6, train_eps_ratio=1.5, warmup=0.1, ramp=0.5)
    clean = F.cross_entropy(net(x), y)
    assert torch.equal(plan.objective()(net, x, y, context(0)), clean)
    assert torch.equal(plan.objective()(net, x, y, context(10)), clean)
    assert [plan.ramp_factor(share) for share in (0.0, 0.1, 0.35, 0.6, 1.0)] == pytest.approx(
        [0, 0, 0.5, 1, 1]
    )
    sudden = IBPTraining(Linf(0.05), SHORT, warmup=0.1, ramp=0.0)
    assert [sudden.ramp_factor(share) for share in (0.0, 0.05, 0.1, 1.0)] == [0, 0, 1, 1]
    bound = IBPTraining(
        Linf(0.075), SHORT, robust_weight=1.0, train_eps_ratio=1.0, warmup=0, ramp=0
    ).objective()(net, x, y, context(0))
    torch.testing.assert_close(plan.objective()(net, x, y, context(80)), 0.4 * clean + 0.6 * bound)
    losses = [plan.objective()(net, x, y, context(step)) for step in range(0, 101, 10)]
    assert all(later >= earlier for earlier, later in itertools.pairwise(losses))


def test_the_interval_loss_is_at_least_that_of_any_allowed_point():
    net, (x, y) = small().eval(), batch()
    bound = IBPTraining(
        Linf(0.1), SHORT, robust_weight=1.0, train_eps_ratio=1.0, warmup=0, ramp=0
    ).objective()(net, x, y, context())
    attacked = PGDTraining(Linf(0.1), SHORT, steps=10).objective()(net, x, y, context())
    assert bound >= attacked


def test_a_layer_without_a_rule_is_refused_by_interval_training():
    net, (x, y) = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.Hardswish(), nn.Linear(4, 3)), batch()
    with pytest.raises(ModelError, match="Hardswish"):
        IBPTraining(Linf(0.1), SHORT).objective()(net, x, y, context(90))
    assert net.training


def test_noise_has_the_size_that_it_says_and_is_not_clipped():
    seen = []
    net = small().eval()
    net.register_forward_pre_hook(lambda _net, args: seen.append(args[0]))
    x, y = torch.rand(64, 1, 20, 20).round(), torch.zeros(64, dtype=torch.long)
    net[5] = nn.Linear(19 * 19 * 4, 8)
    GaussianAugmentation(0.25, SHORT).objective()(net, x, y, context())
    noise = seen[0] - x
    assert noise.std().item() == pytest.approx(0.25, rel=0.02)
    assert noise.mean().abs() < 0.005
    assert seen[0].min() < -0.3


def seen_by(net):
    """The inputs of each later call of a net."""
    seen = []

    def see(_net, args):
        if isinstance(args[0], torch.Tensor):  # and not what traces the net
            seen.append(args[0].detach().clone())

    net.register_forward_pre_hook(see)
    return seen


def test_trades_weighs_how_far_predictions_change_inside_the_ball():
    net, (x, y) = small().eval(), batch()
    seen = seen_by(net)
    loss = TRADES(Linf(0.1), SHORT, beta=2.0, steps=5).objective()(net, x, y, context())
    worst = seen[-1]
    assert contains(Linf(0.1), worst, x).all()
    p, q = net(x).softmax(1), net(worst).softmax(1)
    changed = (p * (p.log() - q.log())).sum(1)
    torch.testing.assert_close(loss, F.cross_entropy(net(x), y) + 2.0 * changed.mean())
    # more steps change predictions more than one step does, and no random point of the ball as much
    at_random = net(x + 0.1 * torch.rand_like(x).mul(2).sub(1)).softmax(1)
    assert changed.mean() > 2 * (p * (p.log() - at_random.log())).sum(1).mean()
    clean = TRADES(Linf(0.1), SHORT, beta=0.0).objective()(net, x, y, context())
    torch.testing.assert_close(clean, F.cross_entropy(net(x), y))


def test_the_fast_step_is_taken_from_noise_and_not_clipped_to_the_ball():
    weights = torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.0, 1.0, -1.0, 0.0], [-1.0, 0.5, 2.0, 0.0]])
    net = nn.Linear(4, 3)
    with torch.no_grad():
        net.weight.copy_(weights)
    x, y, eps = torch.full((500, 4), 0.5), torch.zeros(500, dtype=torch.long), 0.1
    x[:, 1] = 0.02
    seen = seen_by(net)
    moment = StepContext(0, 1, 0, 1, seed=3, ids=torch.arange(500))
    FastTraining(Linf(eps), SHORT, rel_step_size=1.25).objective()(net, x, y, moment)
    noisy, worst = seen
    # the noise fills twice the ball, less what the data box cuts off
    assert (noisy[:, 0] - 0.5).abs().max() == pytest.approx(2 * eps, rel=0.02)
    assert (noisy[:, 0] - 0.5).std() == pytest.approx(4 * eps / 12**0.5, rel=0.1)
    assert noisy[:, 1].min() == 0
    # then comes one step along the sign of the cross-entropy's gradient, clipped to the box alone
    other = net(noisy).detach()
    other[:, 0] = -torch.inf
    gradient = other.softmax(1) @ weights - weights[0]
    torch.testing.assert_close(worst, (noisy + 1.25 * eps * gradient.sign()).clamp(0, 1))
    assert not contains(Linf(2 * eps), worst, x).all()


def test_the_inner_attack_may_be_any_by_gradients():
    net, (x, y) = small().eval(), batch()
    seen = seen_by(net)
    PGDTraining(Linf(0.1), SHORT, inner=APGD(steps=3)).objective()(net, x, y, context(7))
    worst = seen[-1]
    expected = APGD(steps=3)(net, x, y, Linf(0.1), seed=7, ids=torch.arange(16)).adversarial
    assert torch.equal(worst, expected)
    assert PGDTraining(Linf(0.1), steps=5, inner="apgd").inner == APGD(steps=5)


def test_awp_has_the_gradient_at_weights_a_step_up_the_loss():
    net, (x, y) = small().eval(), batch()
    adversarial, gamma = PGDTraining(Linf(0.1), SHORT, steps=2), 0.05
    weights = copy_weights(net)
    seen = seen_by(net)
    loss = AWP(Linf(0.1), SHORT, gamma=gamma, steps=2).objective()(net, x, y, context(50))
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())
    loss.backward()
    found = {name: parameter.grad.clone() for name, parameter in net.named_parameters()}
    worst = seen[-1]
    # the same step by hand: up the loss at the attacked points, as long as gamma times each layer's norm
    net.zero_grad()
    before = adversarial.objective()(net, x, y, context(50))
    torch.testing.assert_close(seen[-1], worst)
    before.backward()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter += gamma * parameter.norm() * parameter.grad / parameter.grad.norm()
    net.zero_grad()
    after = F.cross_entropy(net(worst), y)
    after.backward()
    torch.testing.assert_close(loss, after)
    assert after > before
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)


def test_awp_begins_as_adversarial_training():
    net, (x, y) = small().eval(), batch()
    loss = AWP(Linf(0.1), SHORT, warmup=0.3).objective()(net, x, y, context(29))
    torch.testing.assert_close(loss, PGDTraining(Linf(0.1), SHORT).objective()(net, x, y, context(29)))


def test_consistency_is_its_formula_at_the_noise_of_the_step():
    net, (x, y) = small().eval(), batch()
    seen = seen_by(net)
    plan = ConsistencyTraining(0.25, SHORT, samples=3, consistency=4.0, entropy=0.7)
    loss = plan.objective()(net, x, y, context(60))
    assert len(seen) == 3
    noise = torch.stack(seen) - x
    assert noise.std().item() == pytest.approx(0.25, rel=0.1)
    assert (noise[0] != noise[1]).all()
    p = torch.stack([net(z).softmax(1) for z in noise + x])
    mean = p.mean(0)
    apart = (mean * (mean.log() - p.log())).sum(2).mean()
    entropy = -(mean * mean.log()).sum(1).mean()
    right = -p[:, torch.arange(16), y].log().mean()
    torch.testing.assert_close(loss, right + 4.0 * apart + 0.7 * entropy)


def test_a_step_of_ones_own_loop_is_that_of_fit():
    """Plain SGD at a constant rate, written out; the order of the examples is that of ``fit``."""
    data, expected, own = squares(64), small(outputs=2), small(outputs=2)
    recipe = Recipe(1, 16, 0.05, optimizer="sgd", schedule="constant")
    plan = MTLIBP(Linf(0.1), recipe, robust_weight=0.5)
    fit(expected, data, plan, seed=3)
    plan.prepare(own, seed=3)
    loss_of, optimizer = plan.objective(), torch.optim.SGD(own.parameters(), lr=0.05)
    order = np.random.default_rng(derive_seed(3, "order", 0)).permutation(64)
    for step in range(4):
        ids = torch.from_numpy(order[16 * step : 16 * step + 16])
        x, y = data.batch(ids)
        own.train()
        optimizer.zero_grad()
        moment = StepContext.at(step, 4, ids=ids, seed=3)
        torch.manual_seed(moment.seed)  # dropout
        loss_of(own, x, y, moment).backward()
        torch.nn.utils.clip_grad_norm_(own.parameters(), 10.0)
        optimizer.step()
    for name, value in own.state_dict().items():
        torch.testing.assert_close(value, expected.state_dict()[name], msg=name)


def test_smoothed_labels_cost_a_confident_net():
    net, (x, y) = small().eval(), batch()
    for build in (PGDTraining, TRADES, FastTraining):
        hard, soft = (
            build(Linf(1e-6), SHORT, label_smoothing=s).objective()(net, x, y, context()) for s in (0, 0.3)
        )
        # a label's weight goes to the mean over all classes
        mean = -net(x).log_softmax(1).mean()
        torch.testing.assert_close(soft, 0.7 * hard + 0.3 * mean, rtol=1e-4, atol=1e-5)


def test_a_net_of_certified_training_is_proven_up_to_its_threat_and_no_further_than_the_classes_are_apart():
    data = squares()
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2)
    )
    with torch.no_grad():
        for index, parameter in enumerate(net.parameters()):
            generator = torch.Generator().manual_seed(index)
            parameter.copy_(
                torch.empty_like(parameter).normal_(generator=generator) / math.sqrt(parameter.shape[-1])
            )
    fitted = fit(net, data, IBPTraining(Linf(0.08), Recipe(epochs=15, batch_size=20, learning_rate=5e-3)))
    x, y = data.batch(np.arange(200))
    assert len(fitted.losses) == 15
    assert not net.training
    assert IntervalBounds()(Classifier(net), x, y, Linf(0.08)).certified.double().mean() > 0.95
    assert (
        largest_certified_radius(IntervalBounds(), Classifier(net), x, y, Linf(0.08)).radius.max()
        <= 0.15 + 0.05
    )


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: type(plan).__name__)
def test_a_run_that_was_cut_off_ends_as_if_it_was_not(plan, tmp_path, monkeypatch):
    class Cut(Exception):
        pass

    class Cutting:
        def bar(self, label, total):
            from contextlib import nullcontext

            done = []

            def advance(count):
                done.append(count)
                if sum(done) > total // 2:
                    raise Cut

            return nullcontext(advance)

    data, file = squares(64), tmp_path / "checkpoint.safetensors"
    whole, cut = small(outputs=2), small(outputs=2)
    fit(whole, data, plan, seed=5)
    monkeypatch.setattr(CheckpointTimer, "is_due", lambda _timer: True)
    with pytest.raises(Cut):
        fit(cut, data, plan, seed=5, checkpoint=file, progress=Cutting())
    assert file.exists()
    rest = small(seed=9, outputs=2)
    fit(rest, data, plan, seed=5, checkpoint=file)
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole.state_dict().values(), rest.state_dict().values(), strict=True)
    )
    with pytest.raises(RunFolderError):
        fit(rest, data, plan, seed=6, checkpoint=file)


def test_a_plan_says_all_its_settings_in_its_objective():
    for plan in PLANS:
        text = repr(plan.objective())
        assert all(
            repr(getattr(plan, name)) in text
            for name in (field.name for field in fields(plan))
            if name != "recipe"
        )


def test_modes_come_back_after_an_error():
    net = small().train()
    net[1].eval()
    seen = []

    def stop():
        with eval_mode(net):
            seen.append(net.training)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop()
    assert seen == [False]
    assert net.training
    assert not net[1].training


@pytest.mark.parametrize(
    "build",
    [
        lambda: PGDTraining(Linf(0.1), steps=0),
        lambda: PGDTraining(Linf(0.1), rel_step_size=0.0),
        lambda: PGDTraining(0.1),
        lambda: PGDTraining("linf"),
        lambda: IBPTraining(Linf(0.1), robust_weight=0.0),
        lambda: IBPTraining(Linf(0.1), train_eps_ratio=0.5),
        lambda: IBPTraining(Linf(0.1), train_eps_ratio=math.inf),
        lambda: IBPTraining(Linf(0.1), warmup=0.6, ramp=0.6),
        lambda: IBPTraining(0.1),
        lambda: IBPTraining("l1:0.1"),
        lambda: GaussianAugmentation(0.0),
        lambda: GaussianAugmentation(math.inf),
        lambda: PGDTraining(Linf(0.1), label_smoothing=1.0),
        lambda: PGDTraining(Linf(0.1), label_smoothing=-0.1),
        lambda: TRADES(Linf(0.1), beta=-1.0),
        lambda: TRADES(Linf(0.1), beta=math.nan),
        lambda: TRADES(Linf(0.1), steps=0),
        lambda: TRADES(3),
        lambda: FastTraining("l2:0.1"),
        lambda: MTLIBP("l1:0.1"),
        lambda: MTLIBP(Linf(0.1), robust_weight=0.0),
        lambda: MTLIBP(Linf(0.1), train_eps_ratio=0.9),
        lambda: MTLIBP(Linf(0.1), warmup=0.7, ramp=0.4),
        lambda: MTLIBP(Linf(0.1), regularization=-1.0),
        lambda: ConsistencyTraining(0.0),
        lambda: ConsistencyTraining(0.25, samples=1),
        lambda: ConsistencyTraining(0.25, consistency=-1.0),
        lambda: ConsistencyTraining(0.25, entropy=math.inf),
        lambda: AWP(Linf(0.1), gamma=0.0),
        lambda: AWP(Linf(0.1), warmup=1.0),
        lambda: PGDTraining(Linf(0.1), inner="square"),
        lambda: PGDTraining(Linf(0.1), inner="autoattack"),
        lambda: PGDTraining(L2(0.1), inner="fgsm"),
        lambda: FastTraining(Linf(0.1), noise=-1.0),
        lambda: FastTraining(Linf(0.1), rel_step_size=0.0),
        lambda: FastTraining(Linf(0.1), label_smoothing=1.0),
    ],
)
def test_settings_out_of_range_are_refused(build):
    with pytest.raises(SettingError):
        build()


def test_defenses_are_registered():
    found = {name: entry.load() for name, entry in entries("defense").items()}
    known = {
        "pgd-at": PGDTraining,
        "ibp": IBPTraining,
        "gaussian": GaussianAugmentation,
        "trades": TRADES,
        "fast-at": FastTraining,
        "awp": AWP,
        "consistency": ConsistencyTraining,
        "mtl-ibp": MTLIBP,
    }
    assert found | known == found
