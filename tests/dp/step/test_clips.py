"""Clipping methods by their names, schedules of the bound and of the noise, and adaptive clipping."""

import math
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp import PrivacyEngine
from quintain.dp.opacus.schedulers import (
    ExponentialGradClip,
    ExponentialNoise,
    LambdaGradClip,
    LambdaNoise,
    StepGradClip,
    StepNoise,
)
from quintain.dp.randomness.discrete_gaussian import VARIANCE
from quintain.dp.step.adaptive import AdaptiveClipping
from quintain.dp.step.clipping import AutomaticClipping, FlatClipping, PerLayerClipping
from quintain.dp.step.noise import noisy_count


@pytest.mark.parametrize(
    ("settings", "clip"),
    [
        ({"max_grad_norm": 0.5}, FlatClipping(0.5)),
        (
            {"max_grad_norm": [0.5, 0.25, 1.0, 2.0], "clipping": "per_layer"},
            PerLayerClipping((0.5, 0.25, 1.0, 2.0)),
        ),
        ({"max_grad_norm": 1.0, "clipping": "per_layer"}, PerLayerClipping((0.5,) * 4)),
        ({"max_grad_norm": 0.5, "clipping": "automatic"}, AutomaticClipping(0.5)),
        ({"max_grad_norm": AutomaticClipping(0.5, 0.1)}, AutomaticClipping(0.5, 0.1)),
        ({"max_grad_norm": 0.5, "clipping": "adaptive"}, AdaptiveClipping(0.5, 0.4)),
        (
            {
                "max_grad_norm": 0.5,
                "noise_multiplier": 0.7,
                "clipping": "adaptive",
                "target_unclipped_quantile": 0.7,
                "clipbound_learning_rate": 0.1,
                "min_clipbound": 0.01,
                "max_clipbound": 10.0,
                "unclipped_num_std": 3.0,
            },
            AdaptiveClipping(0.5, 3.0, 0.7, 0.1, 0.01, 10.0),
        ),
    ],
)
def test_a_name_and_its_settings_make_a_clipping_method(private, settings, clip) -> None:
    _, optimizer, _, _ = private(**{"noise_multiplier": 0.5, **settings})
    assert optimizer.clip == clip


@pytest.mark.parametrize(
    "settings",
    [
        {"clipping": "nonsense"},
        {"max_grad_norm": [1.0, 1.0, 1.0, 1.0]},
        {"max_grad_norm": [1.0, 1.0], "clipping": "per_layer"},
        {"max_grad_norm": [1.0] * 4, "clipping": "automatic"},
        {"max_grad_norm": FlatClipping(1.0), "clipping": "automatic"},
        {"unclipped_num_std": 1.0},
        {"clipping": "adaptive", "unclipped_num_std": 1.0, "unclipped": 1.0},
        {"clipping": "adaptive", "unclipped_num_std": 0.3, "noise_multiplier": 1.0},
        {"clipping": "adaptive", "min_clipbound": 2.0, "max_clipbound": 1.0},
    ],
)
def test_clipping_settings_that_contradict_each_other_are_refused(private, settings) -> None:
    with pytest.raises(SettingError, match="expected"):
        private(**settings)


def test_per_layer_bounds_each_parameter(private) -> None:
    bounds = [0.05, 0.02, 0.1, 0.03]
    _, optimizer, _, _ = private(batch=40, noise_multiplier=0.0, max_grad_norm=bounds, clipping="per_layer")
    assert optimizer.max_grad_norm == pytest.approx(math.hypot(*bounds))
    sums = []
    for rows in (slice(0, 40), slice(1, 40)):
        torch.manual_seed(0)
        net, optimizer, loader, _ = private(
            batch=40, noise_multiplier=0.0, max_grad_norm=bounds, clipping="per_layer"
        )
        x, y = next(iter(loader))
        F.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.clip_and_accumulate()
        sums.append([part.clone() for part in optimizer.private_step.sum.clipped.by_parameter.values()])
    for bound, one, other in zip(bounds, *sums, strict=True):
        assert 0.5 * bound < (one - other).norm() <= bound * (1 + 1e-5)


@pytest.mark.parametrize("clipping", ["flat", "per_layer", "automatic"])
@pytest.mark.parametrize("mode", ["auto", "ghost", "hooks"])
def test_a_scheduled_bound_scales_clip_and_noise_alike(blobs, clipping: str, mode: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    made = PrivacyEngine(seed=0).make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.0),
        data_loader=DataLoader(TensorDataset(*blobs), batch_size=40),
        noise_multiplier=2.0,
        max_grad_norm=1.0,
        clipping=clipping,
        grad_sample_mode=mode,
    )
    model, optimizer, loader = made[0], made[1], made[-1]
    scheduler = ExponentialGradClip(optimizer, gamma=0.01)
    before = optimizer.private_step.noise_and_clip.sum_noise_std
    scheduler.step()
    assert before == pytest.approx(2.0)
    assert optimizer.private_step.noise_and_clip.sum_noise_std == pytest.approx(0.02)
    x, y = next(iter(loader))
    F.cross_entropy(model(x), y).backward()
    optimizer.clip_and_accumulate()
    assert optimizer.private_step.sum.clipped.flat.norm() <= 40 * 0.01
    optimizer.step()


def test_schedules_follow_their_law_and_resume(private) -> None:
    laws = [
        (lambda o: ExponentialNoise(o, gamma=0.5), "noise_multiplier", [2.0, 1.0, 0.5, 0.25]),
        (lambda o: StepNoise(o, step_size=2, gamma=0.5), "noise_multiplier", [2.0, 2.0, 1.0, 1.0]),
        (lambda o: LambdaNoise(o, noise_lambda=lambda t: 1 + t), "noise_multiplier", [2.0, 4.0, 6.0, 8.0]),
        (lambda o: ExponentialGradClip(o, gamma=0.5), "max_grad_norm", [3.0, 1.5, 0.75, 0.375]),
        (lambda o: StepGradClip(o, step_size=3, gamma=0.5), "max_grad_norm", [3.0, 3.0, 3.0, 1.5]),
        (
            lambda o: LambdaGradClip(o, scheduler_function=lambda t: 1 / (1 + t)),
            "max_grad_norm",
            [3.0, 1.5, 1.0, 0.75],
        ),
    ]
    for make, name, values in laws:
        _, optimizer, _, _ = private(noise_multiplier=2.0, max_grad_norm=3.0)
        scheduler, seen = make(optimizer), [getattr(optimizer, name)]
        for _ in values[1:]:
            scheduler.step()
            seen.append(getattr(optimizer, name))
        assert seen == pytest.approx(values)
        _, fresh, _, _ = private(noise_multiplier=2.0, max_grad_norm=3.0)
        other = make(fresh)
        other.load_state_dict(scheduler.state_dict())
        assert getattr(fresh, name) == pytest.approx(values[-1])
    with pytest.raises(SettingError, match="got a SGD"):
        ExponentialNoise(optimizer.inner, gamma=0.5)
    _, optimizer, _, _ = private()
    with pytest.raises(PrivacyError, match="without noise"):
        LambdaNoise(optimizer, noise_lambda=lambda _epoch: 0.0)


def test_an_adaptive_bound_finds_the_quantile(private) -> None:
    net, optimizer, loader, engine = private(
        batch=40,
        rate=0.0,
        noise_multiplier=0.0,
        max_grad_norm=20.0,
        clipping="adaptive",
        target_unclipped_quantile=0.75,
    )
    norms = []
    for _ in range(60):
        for x, y in loader:
            F.cross_entropy(net(x), y).backward()
            norms = torch.stack([g.flatten(1).norm(dim=1) for g in optimizer.grad_samples]).norm(dim=0)
            optimizer.step()
            optimizer.zero_grad()
    assert (norms <= optimizer.max_grad_norm).float().mean() == pytest.approx(0.75, abs=0.06)
    assert engine.ledger.steps == 60


def test_the_count_and_the_gradient_cost_together_what_is_recorded(private) -> None:
    _, optimizer, _, _ = private(
        batch=20, noise_multiplier=1.5, max_grad_norm=2.0, clipping="adaptive", unclipped_num_std=1.0
    )
    gradients = optimizer.private_step.noise_and_clip.sum_noise_std / 2.0
    assert gradients**-2 + (2 * 1.0) ** -2 == pytest.approx(1.5**-2)
    assert gradients > 1.5
    assert optimizer.private_step.account.next_release.noise_multiplier == 1.5


def test_the_count_is_of_the_whole_batch_over_its_expected_size(private) -> None:
    bounds = []
    for pieces in (1, 4):
        torch.manual_seed(0)
        net, optimizer, loader, _ = private(
            batch=20,
            noise_multiplier=0.5,
            clipping="adaptive",
            max_physical_batch_size=None if pieces == 1 else 5,
        )
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
        bounds.append(optimizer.max_grad_norm)
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-12) != 1.0


def test_the_bound_moves_on_an_empty_batch_too_and_resumes(private) -> None:
    def run(epochs: int, state=None):
        torch.manual_seed(0)
        net, optimizer, loader, _ = private(batch=1, noise_multiplier=0.05, clipping="adaptive")
        if state is not None:
            net.load_state_dict(state[0])
            optimizer.load_state_dict(state[1])
        sizes = []
        for _ in range(epochs):
            for x, y in loader:
                before = optimizer.max_grad_norm
                optimizer.zero_grad()
                F.cross_entropy(net(x), y).backward()
                optimizer.step()
                sizes.append(len(x))
                assert optimizer.max_grad_norm != before
        assert 0 in sizes
        return net.state_dict(), optimizer.state_dict(), optimizer.max_grad_norm

    whole, halves = run(2), run(1, run(1))
    assert whole[2] == halves[2]
    assert all(torch.equal(whole[0][key], halves[0][key]) for key in whole[0])


def test_the_noise_of_the_count_has_its_size(private) -> None:
    _, optimizer, _, _ = private(batch=20, noise_multiplier=1.0, clipping="adaptive", unclipped_num_std=3.0)
    for secure in (False, True):
        noises = [
            noisy_count(7, optimizer.clip.unclipped_count_std, optimizer.private_step.stream, secure=secure)
            - 7
            for _ in range(2000)
        ]
        # Noise of 3 on the count of unclipped examples is 2 * 3 on its double, which is what is made noisy.
        # The standard deviation of n normal numbers has a relative standard error of 1 / sqrt(2 n): five.
        assert torch.tensor(noises).std() == pytest.approx(2 * 3.0, rel=5 / math.sqrt(2 * 2000))


def test_count_and_noise_are_added_as_whole_numbers(blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    noisy_counts, original = [], AdaptiveClipping.for_next_step

    def recording(self, noisy_count, expected_batch_size):
        noisy_counts.append(noisy_count)
        return original(self, noisy_count, expected_batch_size)

    monkeypatch.setattr(AdaptiveClipping, "for_next_step", recording)
    net = nn.Linear(6, 2)
    net, optimizer, loader = PrivacyEngine(secure_mode=True).make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        data_loader=DataLoader(TensorDataset(*blobs), batch_size=20),
        noise_multiplier=1.0,
        clipping="adaptive",
    )
    # VARIANCE is in squared grid steps, and the noise of the doubled count has the standard deviation
    # 2 * unclipped_count_std: so many grid steps make one of the count. The noisy count is a whole number
    # of them, rounded once by the division.
    steps_per_count = math.isqrt(int(VARIANCE / Fraction(2 * optimizer.clip.unclipped_count_std) ** 2))
    for _ in range(20):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
    assert len(noisy_counts) == 40
    assert all(count == round(count * steps_per_count) / steps_per_count for count in noisy_counts)
