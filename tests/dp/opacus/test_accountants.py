"""Accountants by name: what each answers, keeps and refuses."""

import math
from types import SimpleNamespace

import pytest
from torch.utils.data import DataLoader

from quintain.core.errors import PrivacyError, SettingError, UnknownNameError
from quintain.dp.accounting import epsilon
from quintain.dp.opacus import accountants
from quintain.dp.opacus.accountants import create_accountant, register_accountant, registry
from quintain.dp.opacus.accountants.utils import get_noise_multiplier

NAMES = ("pld", "prv", "rdp", "gdp")
pytestmark = pytest.mark.filterwarnings("ignore:accountant:UserWarning")


def spent(name: str, steps: int = 100, sigma: float = 2.0, rate: float = 0.1) -> accountants.IAccountant:
    accountant = create_accountant(name)
    for _ in range(steps):
        accountant.step(noise_multiplier=sigma, sample_rate=rate)
    return accountant


@pytest.mark.parametrize("name", NAMES)
def test_each_counts_and_merges_steps(name: str) -> None:
    accountant = spent(name, 3)
    accountant.step(noise_multiplier=1.0, sample_rate=0.1)
    accountant.step(noise_multiplier=2.0, sample_rate=0.1)
    assert accountant.history == [(2.0, 0.1, 3), (1.0, 0.1, 1), (2.0, 0.1, 1)]
    assert len(accountant) == 3
    assert accountant.mechanism() == name


@pytest.mark.parametrize("name", NAMES)
def test_no_steps_cost_nothing_and_no_noise_everything(name: str) -> None:
    accountant = create_accountant(name)
    assert accountant.get_epsilon(1e-5) == 0
    accountant.step(noise_multiplier=0.0, sample_rate=0.1)
    assert accountant.get_epsilon(delta=1e-5) == math.inf


def test_epsilons_are_in_order_and_gdp_is_pld() -> None:
    found = {name: spent(name).get_epsilon(1e-5) for name in NAMES}
    assert found["pld"] == found["gdp"] == epsilon(2.0, 0.1, 100, 1e-5)
    assert found["pld"] * 0.998 <= found["prv"] <= found["pld"] * 1.01
    assert found["prv"] < found["rdp"]


def test_prv_falls_back_where_its_grid_is_too_coarse() -> None:
    assert spent("prv", 2, sigma=0.005).get_epsilon(1e-5) == epsilon(0.005, 0.1, 2, 1e-5) < math.inf


def test_gdp_says_why_it_is_not_itself() -> None:
    with pytest.warns(UserWarning, match="smaller than the true one"):
        create_accountant("gdp")


def test_orders_of_rdp_can_be_chosen() -> None:
    accountant = spent("rdp")
    assert accountant.get_epsilon(1e-5) < accountant.get_epsilon(1e-5, alphas=[2.0, 64.0])


@pytest.mark.parametrize("name", NAMES)
def test_a_state_is_taken_over_and_no_other(name: str) -> None:
    accountant, fresh = spent(name, 5), create_accountant(name)
    fresh.load_state_dict(accountant.state_dict())
    accountant.step(noise_multiplier=2.0, sample_rate=0.1)
    assert fresh.history == [(2.0, 0.1, 5)]
    other = create_accountant("rdp" if name != "rdp" else "pld")
    with pytest.raises(PrivacyError, match="create the one"):
        other.load_state_dict(fresh.state_dict())
    for broken in (
        {},
        {"mechanism": name},
        {"mechanism": name, "history": [(1.0, 2.0, 3)]},
        {"mechanism": name, "history": [1]},
    ):
        with pytest.raises(PrivacyError, match="cannot be read"):
            fresh.load_state_dict(broken)
    assert fresh.history == [(2.0, 0.1, 5)]


def test_a_state_goes_into_a_given_dictionary() -> None:
    kept = {"else": 1}
    assert spent("rdp", 2).state_dict(kept) is kept
    assert kept == {"else": 1, "history": [(2.0, 0.1, 2)], "mechanism": "rdp"}


def test_a_hook_counts_the_optimizers_own_noise() -> None:
    accountant = create_accountant("rdp")
    hook = accountant.get_optimizer_hook_fn(sample_rate=0.1)
    hook(SimpleNamespace(noise_multiplier=2.0))
    hook(SimpleNamespace(noise_multiplier=2.0))
    assert accountant.history == [(2.0, 0.1, 2)]


def test_names_are_registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_ACCOUNTANTS", dict(registry._ACCOUNTANTS))
    register_accountant("mine", accountants.RDPAccountant)
    assert isinstance(create_accountant("mine"), accountants.RDPAccountant)
    with pytest.raises(SettingError, match="registered already"):
        register_accountant("mine", accountants.PRVAccountant)
    register_accountant("mine", accountants.PRVAccountant, force=True)
    assert isinstance(create_accountant("mine"), accountants.PRVAccountant)
    with pytest.raises(UnknownNameError, match="rdp"):
        create_accountant("rpd")


@pytest.mark.parametrize("bad", [(-1.0, 0.1), (math.nan, 0.1), (1.0, 0.0), (1.0, 1.1)])
def test_steps_that_are_none_are_refused(bad: tuple[float, float]) -> None:
    with pytest.raises(SettingError, match="expected"):
        create_accountant("pld").step(noise_multiplier=bad[0], sample_rate=bad[1])


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_deltas_that_are_none_are_refused(delta: float) -> None:
    with pytest.raises(SettingError, match="expected a number strictly between 0 and 1"):
        spent("rdp", 1).get_epsilon(delta)


@pytest.mark.parametrize("name", ["pld", "prv", "rdp"])
@pytest.mark.parametrize("tolerance", [0.1, 0.01])
def test_noise_for_a_target_never_overshoots(name: str, tolerance: float) -> None:
    sigma = get_noise_multiplier(
        target_epsilon=2.0,
        target_delta=1e-5,
        sample_rate=0.02,
        steps=100,
        accountant=name,
        epsilon_tolerance=tolerance,
    )
    found = spent(name, 100, sigma, 0.02).get_epsilon(1e-5)
    assert 2.0 - tolerance <= found <= 2.0


def test_epochs_are_whole_numbers_of_steps() -> None:
    wanted = {"target_epsilon": 2.0, "target_delta": 1e-5}
    for n in (93, 99, 105):
        assert get_noise_multiplier(**wanted, sample_rate=1 / n, epochs=1) == get_noise_multiplier(
            **wanted, sample_rate=1 / n, steps=n
        )


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"epochs": 1, "steps": 1},
        {"steps": 0},
        {"steps": 5, "epsilon_tolerance": 0.0},
        {"steps": 5, "sample_rate": 2.0},
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(SettingError, match="expected"):
        get_noise_multiplier(**{"target_epsilon": 2.0, "target_delta": 1e-5, "sample_rate": 0.1, **setting})


@pytest.mark.parametrize(
    ("records", "batch"), [(40, 12), (100, 30), (93, 1), (60000, 256), (10, 10), (5000, 3)]
)
def test_planned_epochs_have_as_many_steps_as_the_loader_makes(records: int, batch: int) -> None:
    loader = DataLoader(range(records), batch_size=batch)
    by_epochs = get_noise_multiplier(
        target_epsilon=3.0, target_delta=1e-7, sample_rate=batch / records, epochs=2
    )
    by_steps = get_noise_multiplier(
        target_epsilon=3.0, target_delta=1e-7, sample_rate=batch / records, steps=2 * len(loader)
    )
    assert by_epochs == by_steps
