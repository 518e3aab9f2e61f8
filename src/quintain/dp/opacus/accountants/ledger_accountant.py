"""The engine's accountant, which reads the ledger; and calibration for epochs of a loader."""

from collections.abc import Callable, Mapping
from typing import Any

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.accounting import calibrate_noise_multiplier
from quintain.dp.accounting.ledger import Ledger
from quintain.dp.accounting.release import Release
from quintain.dp.opacus.accountants.registry import create_accountant
from quintain.dp.opacus.accountants.utils import MAX_NOISE_MULTIPLIER, get_noise_multiplier

POISSON_GAUSSIAN = ("poisson", "gaussian", 0)
"""Sampling, mechanism and choice that every accountant can count; other steps only the ledger can."""
NOISE_RELATIVE_TOLERANCE = 5e-3
"""How closely ``bisect_noise_multiplier`` finds the noise multiplier, relatively."""


class LedgerAccountant:
    """An accountant whose steps are those of a ledger: none can be added or dropped by hand.

    Args:
        name: "pld", "rdp", "prv" or "gdp". With steps other than Poisson batches with Gaussian noise, or
            settings chosen after a step, the ledger answers instead.
        ledger: What was released.
    """

    def __init__(self, name: str, ledger: Ledger) -> None:
        self._accountant, self._ledger = create_accountant(name), ledger

    def mechanism(self) -> str:
        """The accountant's name."""
        return self._accountant.mechanism()

    @property
    def history(self) -> list[tuple[float, float, int]]:
        """Entries (noise multiplier, sample rate, steps), in order."""
        return [
            (release.noise_multiplier, release.sample_rate, release.steps)
            for release in self._ledger.releases
        ]

    def __len__(self) -> int:
        return len(self.history)

    def get_epsilon(self, delta: float, **kwargs: Any) -> float:
        """Epsilon of all steps so far; the ledger's if this accountant cannot count them (see the class)."""
        if self.mechanism() in ("pld", "gdp") or any(
            (r.sampling, r.mechanism, r.choice) != POISSON_GAUSSIAN for r in self._ledger.releases
        ):
            return self._ledger.epsilon(delta)
        self._accountant.history = self.history
        return self._accountant.get_epsilon(delta, **kwargs)

    def step(self, *, noise_multiplier: float, sample_rate: float) -> None:
        """Refused: the private optimizer records its steps itself."""
        raise PrivacyError(
            f"accountant.step(noise_multiplier={noise_multiplier}, sample_rate={sample_rate}) was called by "
            "hand; expected no call: the engine's optimizers record each step, and this one would count "
            "twice"
        )

    def state_dict(self) -> dict[str, Any]:
        """The history, the accountant's name, and the ledger."""
        return {"history": self.history, "mechanism": self.mechanism(), "ledger": self._ledger.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what an earlier part of the run has spent.

        Raises:
            PrivacyError: If ``state_dict`` holds no ledger, or lacks steps that were spent here.
        """
        if "ledger" not in state_dict:
            raise PrivacyError(
                "got an accountant's state without a ledger; expected what engine.accountant.state_dict() "
                "gave"
            )
        self._ledger.load_state_dict(state_dict["ledger"])


def bisect_noise_multiplier(epsilon_at: Callable[[float], float], target: float, start: float) -> float:
    """The least noise multiplier, up to half a percent, that costs at most ``target``.

    Args:
        epsilon_at: Epsilon as a function of the noise multiplier; must decrease.
        target: The epsilon that is never exceeded.
        start: Where to look first; the answer is at least half of it.

    Raises:
        SettingError: If there is none.
    """
    # double until epsilon is within the target, then bisect between too little noise and enough
    low, high = start / 2, start
    while epsilon_at(high) > target:
        low, high = high, 2 * high
        if high > MAX_NOISE_MULTIPLIER:
            raise SettingError(
                f"no noise multiplier up to {MAX_NOISE_MULTIPLIER:g} reaches epsilon = {target}; expected a "
                "larger epsilon"
            )
    while high - low > NOISE_RELATIVE_TOLERANCE * high:
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon_at(middle) > target else (low, middle)
    return high


def calibrate_for_epochs(
    epsilon: float,
    delta: float,
    *,
    num_units: int,
    expected_batch_size: int,
    steps_per_epoch: int,
    epochs: int,
    accountant: str,
    poisson: bool,
    secure: bool,
) -> float:
    """The least noise whose epochs cost at most ``epsilon``, by accountant and by ledger."""
    rate, steps = expected_batch_size / num_units, epochs * steps_per_epoch
    if not poisson:  # a shuffled epoch is accounted as one full-batch step
        rate, steps = 1.0, epochs
    if not secure and (not poisson or accountant in ("pld", "gdp")):
        return calibrate_noise_multiplier(epsilon, delta, rate, steps)
    if not secure:
        by_accountant = get_noise_multiplier(
            target_epsilon=epsilon,
            target_delta=delta,
            sample_rate=rate,
            steps=steps,
            accountant=accountant,
            epsilon_tolerance=1e-3 * epsilon,
        )
        return max(by_accountant, calibrate_noise_multiplier(epsilon, delta, rate, steps))
    batch = expected_batch_size if poisson else num_units

    def epsilon_at(sigma: float) -> float:
        return Ledger([Release(sigma, batch, num_units, steps, mechanism="discrete gaussian")]).epsilon(delta)

    return bisect_noise_multiplier(
        epsilon_at, epsilon, calibrate_noise_multiplier(epsilon, delta, rate, steps)
    )
