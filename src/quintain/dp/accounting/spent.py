"""What an engine has spent, computed from its ledger by the accountant that was chosen."""

from collections.abc import Callable, Mapping
from typing import Any

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.accounting import noise_for
from quintain.dp.accounting.accountants import MOST_NOISE, create_accountant, get_noise_multiplier
from quintain.dp.accounting.ledger import Ledger, Release
from quintain.dp.draws.sampling import SamplingLoader

PLAIN = ("poisson", "gaussian", 0)
"""Sampling, mechanism and choice of the steps that every accountant can count; others only the ledger can."""
TOLERANCE = 5e-3
"""How closely ``least_noise`` finds the noise multiplier, relatively."""


class Spent:
    """An accountant whose steps are those of a ledger: none can be added or dropped by hand.

    Args:
        name: "pld", "rdp", "prv" or "gdp". With steps other than Poisson batches with Gaussian noise, or
            settings chosen after a step, the ledger answers instead.
        ledger: What was released.
    """

    def __init__(self, name: str, ledger: Ledger) -> None:
        self._counter, self._ledger = create_accountant(name), ledger

    def mechanism(self) -> str:
        """The accountant's name."""
        return self._counter.mechanism()

    @property
    def history(self) -> list[tuple[float, float, int]]:
        """Runs (noise multiplier, sample rate, steps), in order."""
        return [(release.noise_multiplier, release.sample_rate, release.steps) for release in self._ledger.releases]

    def __len__(self) -> int:
        return len(self.history)

    def get_epsilon(self, delta: float, **kwargs: Any) -> float:
        """Epsilon of all steps so far; the ledger's if this accountant cannot count them (see the class)."""
        if self.mechanism() in ("pld", "gdp") or any((r.sampling, r.mechanism, r.choice) != PLAIN for r in self._ledger.releases):
            return self._ledger.epsilon(delta)
        self._counter.history = self.history
        return self._counter.get_epsilon(delta, **kwargs)

    def step(self, *, noise_multiplier: float, sample_rate: float) -> None:
        """Refused: the private optimiser records its steps itself."""
        raise PrivacyError(
            f"got a step of noise {noise_multiplier} at rate {sample_rate} told by hand; expected none: the engine's optimisers record "
            "each step themselves, and it would count twice"
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
            raise PrivacyError("got an accountant's state without a ledger; expected what engine.accountant.state_dict() gave")
        self._ledger.load_state_dict(state_dict["ledger"])


def least_noise(cost: Callable[[float], float], target: float, start: float) -> float:
    """The smallest noise multiplier, up to half a percent, that costs at most ``target``.

    Args:
        cost: Epsilon as a function of the noise multiplier; must decrease.
        target: The epsilon that is never exceeded.
        start: Where to look first; the answer is at least half of it.

    Raises:
        SettingError: If there is none.
    """
    # double until the cost is within the target, then bisect between too little noise and enough
    short, enough = start / 2, start
    while cost(enough) > target:
        short, enough = enough, 2 * enough
        if enough > MOST_NOISE:
            raise SettingError(f"no noise multiplier up to {MOST_NOISE:g} reaches epsilon = {target}; expected a larger epsilon")
    while enough - short > TOLERANCE * enough:
        middle = (short + enough) / 2
        short, enough = (middle, enough) if cost(middle) > target else (short, middle)
    return enough


def noise_for_epochs(
    epsilon: float, delta: float, plan: SamplingLoader, epochs: int, *, accountant: str, poisson: bool, secure: bool
) -> float:
    """The least noise whose epochs over a loader cost ``epsilon`` at most, by accountant and by ledger."""
    rate, steps = plan.sample_rate, epochs * len(plan)
    if not poisson:  # a shuffled pass is accounted as one step on all records
        rate, steps = 1.0, epochs
    if not secure and (not poisson or accountant in ("pld", "gdp")):
        return noise_for(epsilon, delta, rate, steps)
    if not secure:
        own = get_noise_multiplier(
            target_epsilon=epsilon,
            target_delta=delta,
            sample_rate=rate,
            steps=steps,
            accountant=accountant,
            epsilon_tolerance=1e-3 * epsilon,
        )
        return max(own, noise_for(epsilon, delta, rate, steps))
    batch = plan.expected_batch_size if poisson else plan.records

    def cost(sigma: float) -> float:
        return Ledger([Release(sigma, batch, plan.records, steps, mechanism="discrete gaussian")]).epsilon(delta)

    return least_noise(cost, epsilon, noise_for(epsilon, delta, rate, steps))
