import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from quintain.core.errors import ModelError, SettingError
from quintain.data import from_arrays
from quintain.leakage import CanaryNet, CanaryRun, audit_one_run, insert_canaries, train_with_canaries
from quintain.leakage.canaries import log_likelihood_ratio
from quintain.leakage.canary_rows import draw_inclusion

CLIP = 0.7


def small_net(classes=2):
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(32, classes))
    for parameter in net.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5, generator=generator)
    return net


def small_data(count=12, classes=2):
    rng = np.random.default_rng(0)
    return from_arrays(
        rng.random((count, 1, 5, 5), dtype=np.float32), rng.integers(0, classes, count), num_classes=classes
    )


def gradients(net, x, y):
    """One example's gradient a row, (B, P)."""
    rows = []
    for example, label in zip(x, y, strict=True):
        loss = nn.functional.cross_entropy(net(example[None]), label[None])
        rows.append(torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(net.parameters()))]))
    return torch.stack(rows)


def private_descent(*, steps, rate, sigma, seed=0):
    """DP-SGD as in its paper, one example at a time."""

    def train(net, data, observe):
        rng = np.random.default_rng(seed)
        divisor = rate * len(data)
        for step in range(steps):
            chosen = np.flatnonzero(rng.random(len(data)) < rate)
            total = torch.zeros(sum(p.numel() for p in net.parameters()))
            if len(chosen):
                each = gradients(net, *data.batch(chosen))
                total = (each * (CLIP / each.norm(dim=1, keepdim=True)).clamp(max=1)).sum(0)
            noisy = (
                total + sigma * CLIP * torch.from_numpy(rng.standard_normal(len(total))).float()
            ) / divisor
            with torch.no_grad():
                for part, parameter in zip(
                    noisy.split([p.numel() for p in net.parameters()]), net.parameters(), strict=True
                ):
                    parameter -= 0.5 * part.view_as(parameter)
            observe(step, noisy)

    return train


@pytest.mark.parametrize("classes", [2, 3])
def test_a_canary_pushes_its_own_coordinate_alone_and_by_more_than_the_clip_norm(classes):
    net, data = small_net(classes), small_data(classes=classes)
    canary_net, planted = (
        CanaryNet(net, canaries=5, max_grad_norm=CLIP),
        insert_canaries(data, np.ones(5, dtype=bool)),
    )
    x, y = planted.batch(np.arange(len(planted)))
    each = gradients(canary_net, x, y)
    assert torch.equal(each[:12, -5:], torch.zeros(12, 5))
    assert torch.allclose(each[:12, :-5], gradients(net, *data.batch(np.arange(12))))
    assert torch.equal(each[12:, :-5], torch.zeros(5, each.shape[1] - 5))
    assert torch.allclose(each[12:, -5:], 2 * CLIP * torch.eye(5))
    assert torch.allclose(canary_net.gradient_norms().float(), each[12:].norm(dim=1))


@pytest.mark.parametrize("classes", [2, 3, 1000])
@pytest.mark.parametrize("start", [-15.0, -20.0, -26.0])
def test_norms_are_those_of_the_gradients_for_any_number_of_classes_where_the_wrong_one_is_not_sure(
    classes, start
):
    """The other K - 1 classes have a share of the probability, so that the push falls below the clip norm
    earlier with more of them.
    """
    canary_net = CanaryNet(nn.Linear(3, classes), canaries=3, max_grad_norm=CLIP)
    nn.init.constant_(canary_net.canary.weight, start / canary_net.gain)
    with pytest.raises(ModelError, match="number of classes is not known"):
        canary_net.gradient_norms()
    x, y = insert_canaries(
        from_arrays(np.zeros((2, 3), dtype=np.float32), [0, 1]), np.ones(3, dtype=bool)
    ).batch([2, 3, 4])
    found = gradients(canary_net, x, y).norm(dim=1)
    assert torch.allclose(canary_net.gradient_norms().float(), found, rtol=1e-4)
    assert torch.allclose(
        canary_net.gradient_norms(torch.full((3,), start / canary_net.gain)), canary_net.gradient_norms()
    )


def test_a_canary_that_was_weak_in_the_middle_of_the_run_is_told():
    def train(net, data, observe):
        net(data.batch([0])[0])
        for step, weight in enumerate((0.0, -30.0, 0.0)):
            nn.init.constant_(net.canary.weight, weight)
            observe(step, torch.zeros(9))

    assert (
        train_with_canaries(
            train, small_net(3), small_data(classes=3), canaries=9, max_grad_norm=CLIP, seed=0
        ).min_gradient_norm
        < CLIP
    )


@settings(max_examples=20)
@given(height=st.floats(-4.0, 100.0))
def test_the_push_stays_the_same_wherever_training_takes_the_weight(height):
    canary_net = CanaryNet(small_net(), canaries=3, max_grad_norm=CLIP)
    nn.init.constant_(canary_net.canary.weight, height)
    x, y = insert_canaries(small_data(), np.ones(3, dtype=bool)).batch([12, 13, 14])
    assert gradients(canary_net, x, y).norm(dim=1).min() >= CLIP
    assert float(canary_net.gradient_norms().min()) >= CLIP


def test_the_net_answers_its_own_pictures_as_before():
    net, data = small_net(), small_data()
    x, _ = data.batch(np.arange(12))
    marked, _ = insert_canaries(data, draw_inclusion(4, seed=0)).batch(np.arange(12))
    torch.testing.assert_close(CanaryNet(net, canaries=4, max_grad_norm=CLIP)(marked), net(x))


@given(canaries=st.integers(1, 20_000), data=st.data())
def test_every_mark_is_read_back(canaries, data):
    number = data.draw(st.integers(0, canaries - 1))
    planted = insert_canaries(
        from_arrays(np.zeros((2, 3), dtype=np.float32), [0, 1]), np.arange(canaries) == number
    )
    x, y = planted.batch([2 + number])
    canary_net = CanaryNet(nn.Linear(3, 2), canaries=canaries, max_grad_norm=1.0)
    assert planted.shape == (4,)
    assert y.item() == 0
    canary_net(x)[0, 1].backward()
    assert torch.nonzero(canary_net.canary.weight.grad.flatten()).item() == number


def test_planted_data_keeps_its_examples_and_streams_them():
    data, included = small_data(), np.array([True, False, True])
    planted = insert_canaries(data, included)
    x, y = planted.batch([0, 14, 5, 12, 13])
    assert (len(planted), planted.shape, planted.num_classes) == (15, (1, 6, 5), 2)
    assert torch.equal(x[[0, 2], :, :5], data.batch([0, 5])[0])
    assert torch.equal(x[[0, 2], :, 5], torch.zeros(2, 1, 5))
    assert x[[1, 3, 4]].count_nonzero() == 3
    assert x[[3, 1, 4], 0, 5, 4].tolist() == pytest.approx([1 / 4, 3 / 4, 1])
    assert y[[0, 2]].tolist() == data.batch([0, 5])[1].tolist()


def test_a_canary_left_out_leaves_a_row_that_moves_nothing():
    canary_net, planted = (
        CanaryNet(small_net(), canaries=3, max_grad_norm=CLIP),
        insert_canaries(small_data(), np.array([False, True, False])),
    )
    each = gradients(canary_net, *planted.batch([12, 13, 14]))
    assert each[[0, 2]].count_nonzero() == 0
    assert each[1].count_nonzero() == 1


def test_a_run_without_noise_reaches_the_ceiling_and_one_with_much_noise_shows_nothing():
    unit = CLIP / (0.5 * (12 + 80))
    for sigma, expected in ((0.0, None), (20.0, 0.0)):
        train = private_descent(steps=12, rate=0.5, sigma=sigma)
        run = train_with_canaries(train, small_net(), small_data(), canaries=80, max_grad_norm=CLIP, seed=3)
        audit = audit_one_run(
            run.scores(sample_rate=0.5, noise_multiplier=max(sigma, 1.0), canary_size=unit), run.included
        )
        assert audit.epsilon == (audit.max_auditable_epsilon if expected is None else expected)
        assert run.min_gradient_norm >= CLIP
        assert run.observations.shape == (12, 80)
        assert run.included.tolist() == draw_inclusion(80, seed=3).tolist()


def test_without_noise_each_step_shows_the_clip_norm_or_nothing():
    train = private_descent(steps=6, rate=0.5, sigma=0.0)
    run = train_with_canaries(train, small_net(), small_data(), canaries=40, max_grad_norm=CLIP, seed=1)
    pushes = run.observations * 0.5 * (12 + 40) / CLIP
    assert np.allclose(pushes, pushes.round(), atol=1e-5)
    assert set(pushes.round().ravel()) == {0.0, 1.0}
    assert not pushes[:, ~run.included].any()


def test_named_releases_are_read_like_flat_ones():
    canary_net = CanaryNet(small_net(), canaries=3, max_grad_norm=CLIP)
    named = {
        name: torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
        for name, p in canary_net.named_parameters()
    }
    flat = torch.cat([part.flatten() for part in named.values()])
    assert torch.equal(canary_net.canary_coordinates(named), canary_net.canary_coordinates(flat))


def test_the_score_is_the_log_likelihood_ratio():
    from scipy.stats import norm

    seen, q, sigma = np.random.default_rng(0).normal(size=(4, 6)), 0.2, 0.8
    inside = (1 - q) * norm.pdf(seen, 0, sigma) + q * norm.pdf(seen, 1, sigma)
    expected = np.log(inside / norm.pdf(seen, 0, sigma)).sum(0)
    assert np.allclose(log_likelihood_ratio(seen, sample_rate=q, noise_multiplier=sigma), expected)
    assert np.allclose(
        log_likelihood_ratio(seen, sample_rate=1.0, noise_multiplier=sigma), ((seen - 0.5) / sigma**2).sum(0)
    )
    assert np.isfinite(log_likelihood_ratio(1e3 * seen, sample_rate=q, noise_multiplier=0.01)).all()


def simulated(rng, *, rate, sigma, steps, canaries):
    """What Dirac canaries show under the plan: their own pushes and noise, nothing else."""
    coins = rng.random(canaries) < 0.5
    return (rng.random((steps, canaries)) < rate) * coins + sigma * rng.standard_normal(
        (steps, canaries)
    ), coins


def test_power_at_the_plan_of_epsilon_three():
    found = []
    for run in range(30):
        seen, coins = simulated(
            np.random.default_rng(run), rate=512 / 4708, sigma=2.4, steps=276, canaries=500
        )
        scores = log_likelihood_ratio(seen, sample_rate=512 / 4708, noise_multiplier=2.4)
        found.append(audit_one_run(scores, coins).epsilon)
    assert np.median(found) > 0.6
    assert min(found) > 0
    assert max(found) < 3


def test_the_likelihood_sees_more_than_the_sum_where_noise_is_small():
    gain = []
    for run in range(10):
        seen, coins = simulated(np.random.default_rng(run), rate=0.02, sigma=0.7, steps=500, canaries=500)
        best, plain = (log_likelihood_ratio(seen, sample_rate=0.02, noise_multiplier=s) for s in (0.7, 0.0))
        gain.append(audit_one_run(best, coins).epsilon - audit_one_run(plain, coins).epsilon)
    assert np.mean(gain) > 0.4


def test_coins_are_fair_and_follow_the_seed():
    heads = [int(draw_inclusion(1000, seed=seed).sum()) for seed in range(50)]
    assert abs(sum(heads) - 25_000) < 4 * (50_000 * 0.25) ** 0.5
    assert draw_inclusion(1000, seed=3).tolist() == draw_inclusion(1000, seed=3).tolist()
    assert len(set(heads)) > 10


def test_one_logit_stands_for_two_classes():
    net = CanaryNet(nn.Linear(3, 1), canaries=3, max_grad_norm=1.0)
    assert net(torch.zeros(2, 4)).shape == (2, 2)
    assert net.num_classes == 2


def test_what_cannot_be_audited_is_refused():
    with pytest.raises(SettingError, match="0 canaries"):
        CanaryNet(small_net(), canaries=0, max_grad_norm=1.0)
    with pytest.raises(SettingError, match="max_grad_norm = 0"):
        CanaryNet(small_net(), canaries=3, max_grad_norm=0)
    with pytest.raises(ModelError, match="one row of logits an example"):
        CanaryNet(nn.Sequential(nn.Linear(3, 4), nn.Unflatten(1, (2, 2))), canaries=3, max_grad_norm=1.0)(
            torch.zeros(2, 4)
        )
    with pytest.raises(SettingError, match="released nothing"):
        train_with_canaries(
            lambda net, data, observe: None, small_net(), small_data(), canaries=9, max_grad_norm=1.0, seed=0
        )
    with pytest.raises(SettingError, match="rate = 0"):
        log_likelihood_ratio(np.zeros((2, 2)), sample_rate=0, noise_multiplier=1.0)


def test_the_last_iterate_tells_of_included_canaries_and_no_more_than_all_iterates():
    last, every = [], []
    for seed in range(3):
        run = train_with_canaries(
            private_descent(steps=20, rate=0.5, sigma=0.4, seed=seed),
            small_net(),
            small_data(),
            canaries=60,
            max_grad_norm=CLIP,
            seed=seed,
        )
        scores = run.last_iterate_scores()
        assert scores[run.included].mean() > scores[~run.included].mean()
        last.append(audit_one_run(scores, run.included).epsilon)
        size = CLIP / (0.5 * (12 + 60))
        full = run.scores(sample_rate=0.5, noise_multiplier=0.4, canary_size=size)
        every.append(audit_one_run(full, run.included).epsilon)
    assert 0 < np.mean(last) <= np.mean(every) + 0.2
    with pytest.raises(SettingError, match="without final weights"):
        CanaryRun(run.observations, run.included, 1.0).last_iterate_scores()
