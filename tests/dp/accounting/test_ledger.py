"""The record of releases, and the guarantee that follows from it."""

import json
import math

import pytest

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp import Ledger, Release, epsilon
from quintain.dp.accounting import rdp
from quintain.dp.accounting.checksum import add_checksum
from tests.dp.support.figures import gaussian_epsilon


def shuffled(epoch: int, sigma: float = 2.0, steps: int = 5) -> Release:
    return Release(sigma, 10, 100, steps, sampling="shuffle", epoch=epoch)


def thrown(epoch: int, sigma: float = 2.0, steps: int = 100) -> Release:
    return Release(sigma, 10, 1000, steps, sampling="balls-in-bins", epoch=epoch, steps_per_epoch=100)


def test_a_ledger_merges_equal_neighbors_and_its_order_does_not_matter() -> None:
    first, second = Release(2.0, 10, 100), Release(3.0, 20, 100, 5)
    ledger, other = Ledger(), Ledger([second])
    for release in (first, first, second):
        ledger.record(release)
    other.record(Release(2.0, 10, 100, 2))
    assert ledger.releases == (Release(2.0, 10, 100, 2), second)
    assert ledger.steps == other.steps == 7
    assert ledger.epsilon(1e-5) == pytest.approx(other.epsilon(1e-5), rel=1e-9)


def test_a_ledger_never_forgets() -> None:
    ledger = Ledger([Release(2.0, 10, 100, 3)])
    state = ledger.state_dict()
    fresh = Ledger()
    fresh.load_state_dict(state)
    assert fresh.releases == ledger.releases
    ledger.record(Release(2.0, 10, 100))
    with pytest.raises(PrivacyError, match="already spent"):
        ledger.load_state_dict(state)
    with pytest.raises(PrivacyError, match="lacks 4 of those already spent"):
        ledger.load_state_dict(Ledger([Release(100.0, 10, 100, 9)]).state_dict())
    longer = Ledger()
    longer.load_state_dict(ledger.state_dict())
    longer.record(Release(3.0, 10, 100))
    ledger.load_state_dict(longer.state_dict())
    assert ledger.releases == longer.releases
    with pytest.raises(PrivacyError, match="without its checksum"):
        fresh.load_state_dict({"history": []})
    with pytest.raises(PrivacyError, match="without readable releases"):
        fresh.load_state_dict(add_checksum({"history": []}))


def test_a_ledger_of_another_run_does_not_replace_this_one() -> None:
    """Also not one with more steps of the same kind, or one that parted from this one: both have forgotten
    some of its steps.
    """
    ledger, other = Ledger([Release(2.0, 10, 100, 3)]), Ledger([Release(2.0, 10, 100, 9)])
    with pytest.raises(PrivacyError, match="another run of 9 steps"):
        ledger.load_state_dict(other.state_dict())
    state, parted = ledger.state_dict(), Ledger()
    parted.load_state_dict(state)
    parted.record(Release(2.0, 10, 100, 4))
    again = Ledger()
    again.load_state_dict(state)
    again.record(Release(2.0, 10, 100, 2))
    with pytest.raises(PrivacyError, match="parted from this one before its 5"):
        again.load_state_dict(parted.state_dict())
    assert again.steps == 5


def test_a_ledger_that_parted_from_this_one_does_not_come_back_to_it() -> None:
    """However many steps of the same kind it has: those of this one since are not among them."""
    ledger, parted, later = Ledger([Release(2.0, 10, 100, 5)]), Ledger(), Ledger()
    parted.load_state_dict(ledger.state_dict())
    ledger.record(Release(2.0, 10, 100, 3))
    parted.record(Release(2.0, 10, 100, 5))
    with pytest.raises(PrivacyError, match="parted from this one before its 8"):
        ledger.load_state_dict(parted.state_dict())
    assert ledger.steps == 8
    later.load_state_dict(ledger.state_dict())
    later.record(Release(2.0, 10, 100, 5))
    ledger.load_state_dict(later.state_dict())
    assert ledger.steps == 13


@pytest.mark.parametrize("change", ["steps", "noise_multiplier", "num_units", "cut", "epoch", "seal"])
def test_a_ledger_that_was_edited_is_refused(change: str) -> None:
    state = Ledger([Release(2.0, 10, 100, 4), shuffled(0)]).state_dict()
    if change == "cut":
        state["releases"] = state["releases"][:1]
    elif change == "seal":
        del state["seal"]
    else:
        state["releases"][1][change] = 1
    with pytest.raises(PrivacyError, match=r"its hash is another|without its checksum"):
        Ledger().load_state_dict(state)


def test_a_ledger_whose_sum_is_not_its_releases_is_refused_even_if_sealed_anew() -> None:
    state = Ledger([Release(2.0, 10, 100, 4)]).state_dict()
    state["releases"][0]["steps"] = 1
    del state["seal"]
    with pytest.raises(PrivacyError, match="1 steps that says it has 4"):
        Ledger().load_state_dict(add_checksum(state))


def test_a_state_survives_json() -> None:
    ledger, fresh = Ledger([Release(2, 10, 100, 4), Release(0.1 + 0.2, 1, 3), shuffled(0)]), Ledger()
    fresh.load_state_dict(json.loads(json.dumps(ledger.state_dict())))
    assert fresh.releases == ledger.releases


def test_a_state_of_plain_numbers_is_read_as_poisson() -> None:
    ledger = Ledger()
    plain = {"noise_multiplier": 2.0, "expected_batch_size": 10, "num_units": 100, "steps": 3}
    ledger.load_state_dict(add_checksum({"releases": [plain], "steps": 3, "passes": [], "parts": []}))
    assert ledger.releases == (Release(2.0, 10, 100, 3),)
    assert all(
        type(value) in (int, float, str, bool) for value in ledger.state_dict()["releases"][0].values()
    )


def test_poisson_steps_are_guaranteed_from_both_sides() -> None:
    found = Ledger([Release(2.0, 10, 100, 50)]).guarantee(1e-5)
    assert found.epsilon == epsilon(2.0, 0.1, 50, 1e-5)
    assert found.epsilon_lower is not None
    assert 0.98 * found.epsilon <= found.epsilon_lower <= found.epsilon
    assert (found.adjacency, found.unit, found.sampling, found.noise, found.steps) == (
        "add/remove",
        "record",
        "poisson",
        "float gaussian",
        50,
    )
    assert found.warnings == ()
    assert found.text.startswith(f"({found.epsilon:.4g}, 1e-05)-differential privacy")
    assert "adding or removing one record, after 50 steps" in found.text


def test_delta_that_is_not_below_one_over_the_records_is_warned_of() -> None:
    found = Ledger([Release(2.0, 10, 100, 5)]).guarantee(0.01)
    assert any("not below 1/100" in warning for warning in found.warnings)
    assert "not below 1/100" in found.text


def test_seeded_and_noiseless_runs_are_warned_of() -> None:
    found = Ledger([Release(0.0, 10, 100, 5, reproducible=True)]).guarantee(1e-5)
    assert found.epsilon == math.inf
    assert found.epsilon_lower == math.inf
    assert len(found.warnings) == 2
    assert "(inf, 1e-05)" in found.text


def test_shuffled_passes_get_no_amplification_and_never_the_figure_of_poisson() -> None:
    ledger = Ledger([shuffled(0), shuffled(1), shuffled(2)])
    found, exact = ledger.guarantee(1e-5), gaussian_epsilon(2 / math.sqrt(3), 1e-5)
    assert exact <= found.epsilon <= exact * 1.001
    assert found.epsilon > 2 * epsilon(2.0, 0.1, 15, 1e-5)
    assert found.adjacency == "zero-out"
    assert found.epsilon_lower is None
    assert "without amplification" in found.text


def test_a_pass_counts_once_however_far_it_got_and_with_its_least_noise() -> None:
    assert Ledger([shuffled(0, steps=1)]).epsilon(1e-5) == Ledger([shuffled(0, steps=10)]).epsilon(1e-5)
    assert Ledger([shuffled(0, 3.0), shuffled(0, 2.0)]).epsilon(1e-5) == Ledger([shuffled(0, 2.0)]).epsilon(
        1e-5
    )


def test_balls_in_bins_have_a_bound_of_their_own() -> None:
    found = Ledger([thrown(epoch) for epoch in range(3)]).guarantee(1e-5)
    assert found.epsilon == pytest.approx(rdp.epsilon_from_rdp(3 * rdp.balls_in_bins_rdp(2.0, 100), 1e-5))
    assert found.epsilon < gaussian_epsilon(2 / math.sqrt(3), 1e-5) / 3
    assert found.accountant == "RDP at whole orders"
    one = Ledger([Release(2.0, 10, 10, 1, sampling="balls-in-bins", steps_per_epoch=1)])
    assert one.epsilon(1e-5) == epsilon(2.0, 1.0, 1, 1e-5)


def test_discrete_noise_is_accounted_by_divergences_not_by_the_gaussians_losses() -> None:
    found = Ledger([Release(2.0, 10, 100, 50, mechanism="discrete gaussian")]).guarantee(1e-5)
    assert found.epsilon == pytest.approx(rdp.epsilon_from_rdp(50 * rdp.poisson_gaussian_rdp(2.0, 0.1), 1e-5))
    assert found.epsilon > epsilon(2.0, 0.1, 50, 1e-5)
    assert found.epsilon_lower is None
    assert found.noise == "discrete gaussian"


def test_kinds_of_sampling_compose() -> None:
    parts = [
        Release(2.0, 10, 100, 50),
        shuffled(0),
        thrown(0),
        Release(2.0, 10, 100, 5, mechanism="discrete gaussian"),
    ]
    found = Ledger(parts).guarantee(1e-5)
    assert (
        max(Ledger([part]).epsilon(1e-5) for part in parts)
        < found.epsilon
        < sum(Ledger([part]).epsilon(1e-6) for part in parts)
    )
    assert found.sampling == "balls-in-bins and poisson and shuffle"
    assert found.text.count("noise") == 1


def test_a_full_batch_is_the_plain_gaussian() -> None:
    found = Ledger([Release(2.0, 50, 100, 4, sampling="full batch")]).guarantee(1e-5)
    assert gaussian_epsilon(1.0, 1e-5) <= found.epsilon <= 1.001 * gaussian_epsilon(1.0, 1e-5)
    assert "all data in every step" in found.text


def test_units_do_not_compose() -> None:
    ledger = Ledger([Release(2.0, 10, 100, unit="patient")])
    with pytest.raises(PrivacyError, match="one unit throughout"):
        ledger.record(Release(2.0, 10, 100))
    with pytest.raises(PrivacyError, match="one unit throughout"):
        Ledger([Release(2.0, 10, 100), Release(2.0, 10, 100, unit="client")])
    assert ledger.guarantee(1e-5).unit == "patient"


def test_an_empty_ledger_has_spent_nothing() -> None:
    found = Ledger().guarantee(1e-5)
    assert (found.epsilon, found.epsilon_lower, found.steps) == (0, 0, 0)
    assert found.text


def test_unknown_names_and_passes_without_bins_are_refused() -> None:
    with pytest.raises(SettingError, match="expected one of poisson"):
        Release(1.0, 1, 10, sampling="shuffled")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="bins"):
        Release(1.0, 1, 10, sampling="balls-in-bins")
    unknown = {"noise_multiplier": 1, "expected_batch_size": 1, "num_units": 2, "mechanism": "laplace"}
    with pytest.raises(PrivacyError, match="readable"):
        Ledger().load_state_dict(add_checksum({"releases": [unknown], "steps": 1, "passes": [], "parts": []}))
