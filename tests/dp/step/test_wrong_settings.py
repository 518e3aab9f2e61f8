"""Settings that no step can be made with are refused by name when training becomes private, not at a step."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import SettingError
from quintain.dp import PrivacyEngine
from quintain.dp.step.adaptive import AdaptiveClipping
from tests.dp.support.loops import refused, step


def test_a_budget_that_affords_no_step_is_refused_with_the_cost_of_one(private) -> None:
    with refused(
        r"affords no step: one comes to epsilon = \d.*noise_multiplier = 1 "
        r".*expected a larger epsilon, more noise",
        SettingError,
    ):
        private(noise_multiplier=1.0, stop_at_epsilon=(0.01, 1e-5))
    _, _, loader, _ = private(noise_multiplier=1.0, stop_at_epsilon=(3, 1e-5))
    assert len([len(x) for x, _ in loader]) > 0


def test_a_run_over_a_spent_budget_ends_at_once(blobs) -> None:
    engine = PrivacyEngine(seed=0)

    def made(epsilon: float):
        net = nn.Linear(6, 2)
        return engine.make_private(
            module=net,
            optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
            data_loader=DataLoader(TensorDataset(*blobs), batch_size=8),
            noise_multiplier=1.0,
            stop_at_epsilon=(epsilon, 1e-5),
        )

    net, optimizer, loader = made(4.0)
    for x, y in loader:
        step(net, optimizer, x, y)
    assert list(made(1.0)[2]) == []


@pytest.mark.parametrize("given", [3, 3.0, (3.0,), (1, 2, 3), "3", ("3", 1e-5), (3, None)])
def test_a_budget_is_a_pair_of_numbers(private, given) -> None:
    with refused(r"got stop_at_epsilon = .*; expected two numbers, \(epsilon, delta\)", SettingError):
        private(stop_at_epsilon=given)


@pytest.mark.parametrize("epochs", [1.5, "2", None, 0])
def test_epochs_are_a_whole_number(blobs, epochs) -> None:
    net = nn.Linear(6, 2)
    with refused("epochs = .*; expected (a whole number, )?at least 1", SettingError):
        PrivacyEngine().make_private_with_epsilon(
            module=net,
            optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
            data_loader=DataLoader(TensorDataset(*blobs), batch_size=8),
            target_epsilon=3,
            target_delta=1e-5,
            epochs=epochs,
            max_grad_norm=1.0,
        )


@pytest.mark.parametrize(
    "settings",
    [
        {"noise_multiplier": 1e200},
        {"max_grad_norm": 1e200},
        {"noise_multiplier": 1e20, "max_grad_norm": 1e20},
    ],
)
def test_noise_that_float32_does_not_hold_is_refused(private, settings) -> None:
    with refused("noise times bound is more than 1e.30", SettingError):
        private(**settings)
    with refused("expected a number, such as 1.1", SettingError):
        private(noise_multiplier="1")


def test_adaptive_clipping_names_the_noise_of_its_count_as_it_is_given(private) -> None:
    """The default, a twentieth of the expected batch, is too little for small batches."""
    with refused(
        r"unclipped_num_std=.*or AdaptiveClipping\(\.\.\., unclipped_count_std=\.\.\.\), above 0\.5",
        SettingError,
    ):
        private(clipping="adaptive", noise_multiplier=1.0)
    with refused("unclipped_count_std of AdaptiveClipping is called unclipped_num_std here", SettingError):
        private(clipping="adaptive", unclipped_count_std=2.0)
    _, optimizer, _, _ = private(clipping="adaptive", noise_multiplier=1.0, unclipped_num_std=2.0)
    assert optimizer.clip == AdaptiveClipping(1.0, unclipped_count_std=2.0)


@pytest.mark.parametrize("poisson", [True, False])
@pytest.mark.filterwarnings("ignore:batches of shuffled data")
def test_the_batch_size_of_a_private_loader_is_the_expected_one(private, poisson: bool) -> None:
    _, _, loader, _ = private(batch=8, poisson_sampling=poisson, max_physical_batch_size=3)
    assert loader.batch_size == loader.expected_batch_size == 8
