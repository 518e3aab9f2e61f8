"""Accountants by their usual names; each counts steps and gives an epsilon that is never too small."""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from quintain.core.errors import PrivacyError, SettingError, UnknownNameError
from quintain.dp.accounting import prv
from quintain.dp.accounting.calibration import calibrate_noise_multiplier
from quintain.dp.accounting.pld import check_delta, composed_epsilon, validated_history
from quintain.dp.accounting.rdp import rdp_epsilon

MAX_NOISE_MULTIPLIER = 1e6
"""The largest noise multiplier that a search tries."""
NOISE_RELATIVE_TOLERANCE = 1e-4
"""Relative tolerance of the search for a noise multiplier."""
RATE_ROUNDING = 1e-6
"""Taken off 1 / sample_rate before it is rounded up, so that 1 / n gives n steps an epoch, not n + 1."""


class IAccountant(ABC):
    """Counts steps of the Poisson-sampled Gaussian mechanism.

    Attributes:
        history: Entries (noise multiplier, sample rate, steps), equal neighbors merged.
    """

    def __init__(self) -> None:
        self.history: list[tuple[float, float, int]] = []

    @classmethod
    @abstractmethod
    def mechanism(cls) -> str:
        """The accountant's name."""

    @abstractmethod
    def _epsilon_of_history(self, delta: float, **kwargs: Any) -> float:
        """Epsilon of the history, which has steps, all of them with noise."""

    def step(self, *, noise_multiplier: float, sample_rate: float) -> None:
        """Count one step."""
        validated_history([(noise_multiplier, sample_rate, 1)])
        if self.history and self.history[-1][:2] == (noise_multiplier, sample_rate):
            self.history[-1] = (noise_multiplier, sample_rate, self.history[-1][2] + 1)
        else:
            self.history.append((noise_multiplier, sample_rate, 1))

    def get_epsilon(self, delta: float, **kwargs: Any) -> float:
        """What all steps cost at ``delta``: 0 without steps, infinity if one had no noise.

        Raises:
            SettingError: If delta is not strictly between 0 and 1, or a number of the history is out of its
                range.
        """
        check_delta(delta)
        merged = validated_history(self.history)
        if not merged:
            return 0.0
        return (
            math.inf
            if any(sigma == 0 for sigma, _, _ in merged)
            else self._epsilon_of_history(delta, **kwargs)
        )

    def get_optimizer_hook_fn(self, sample_rate: float) -> Callable[[Any], None]:
        """A function that counts one step of an optimizer with a ``noise_multiplier``."""

        def count(optimizer: Any) -> None:
            self.step(noise_multiplier=optimizer.noise_multiplier, sample_rate=sample_rate)

        return count

    def __len__(self) -> int:
        return len(self.history)

    def state_dict(self, destination: dict[str, Any] | None = None) -> dict[str, Any]:
        """The history and the accountant's name."""
        state = {} if destination is None else destination
        state["history"] = deepcopy(self.history)
        state["mechanism"] = self.mechanism()
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a saved history.

        Raises:
            PrivacyError: If ``state_dict`` is not what ``state_dict()`` of this kind of accountant gave.
        """
        try:
            mechanism = state_dict["mechanism"]
            history = [
                (float(sigma), float(rate), int(steps)) for sigma, rate, steps in state_dict["history"]
            ]
            validated_history(history)
        except (KeyError, TypeError, ValueError, SettingError) as error:
            raise PrivacyError(
                f"got an accountant's state that cannot be read ({error}); expected what state_dict() gave"
            ) from error
        if mechanism != self.mechanism():
            raise PrivacyError(
                f"got the state of accountant {mechanism!r}; expected {self.mechanism()!r}: create the one "
                "that it was saved from"
            )
        self.history = history


class PLDAccountant(IAccountant):
    """Accounting by privacy loss distributions: the tightest epsilon that is claimed here."""

    @classmethod
    def mechanism(cls) -> str:
        return "pld"

    def _epsilon_of_history(self, delta: float, **kwargs: Any) -> float:  # noqa: ARG002
        return composed_epsilon(self.history, delta)


class RDPAccountant(IAccountant):
    """Accounting by RDP: some ten percent looser than PLD, more at low rates and with little noise."""

    @classmethod
    def mechanism(cls) -> str:
        return "rdp"

    def _epsilon_of_history(
        self,
        delta: float,
        alphas: Sequence[float] | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> float:
        return rdp_epsilon(self.history, delta, alphas)


class PRVAccountant(IAccountant):
    """Accounting by privacy random variables: the upper side of ``prv.prv_bounds``.

    Where the grid of ``prv`` is too coarse for a finite bound, privacy loss distributions answer.
    """

    @classmethod
    def mechanism(cls) -> str:
        return "prv"

    def _epsilon_of_history(self, delta: float, **kwargs: Any) -> float:  # noqa: ARG002
        upper = prv.prv_bounds(self.history, delta).upper
        return upper if upper < math.inf else composed_epsilon(self.history, delta)


class GaussianAccountant(PLDAccountant):
    """The name "gdp", answered by privacy loss distributions: the central limit's epsilon is too small."""

    def __init__(self) -> None:
        super().__init__()
        warnings.warn(
            'accountant "gdp" takes the sum of privacy losses for normal, by the central limit theorem, '
            "and its epsilon is then smaller than the true one; "
            'privacy loss distributions ("pld") answer in its place',
            stacklevel=2,
        )

    @classmethod
    def mechanism(cls) -> str:
        return "gdp"


_ACCOUNTANTS: dict[str, type[IAccountant]] = {
    "pld": PLDAccountant,
    "prv": PRVAccountant,
    "rdp": RDPAccountant,
    "gdp": GaussianAccountant,
}


def register_accountant(mechanism: str, accountant: type[IAccountant], force: bool = False) -> None:
    """Add an accountant that ``create_accountant`` can make.

    Raises:
        SettingError: If the name is taken and ``force`` is not set.
    """
    if mechanism in _ACCOUNTANTS and not force:
        raise SettingError(
            f"accountant {mechanism!r} is registered already; expected a new name, or force=True to replace "
            "it"
        )
    _ACCOUNTANTS[mechanism] = accountant


def create_accountant(mechanism: str) -> IAccountant:
    """A fresh accountant: "pld", "prv", "rdp" or "gdp".

    Raises:
        UnknownNameError: If there is none of the name.
    """
    if mechanism not in _ACCOUNTANTS:
        raise UnknownNameError("accountant", mechanism, _ACCOUNTANTS)
    return _ACCOUNTANTS[mechanism]()


def get_noise_multiplier(
    *,
    target_epsilon: float,
    target_delta: float,
    sample_rate: float,
    epochs: int | None = None,
    steps: int | None = None,
    accountant: str = "pld",
    epsilon_tolerance: float = 0.01,
    **kwargs: Any,
) -> float:
    """The noise multiplier whose steps cost at most ``target_epsilon``, up to a tolerance, by an accountant.

    Args:
        target_epsilon, target_delta: The budget, never exceeded.
        sample_rate: Probability that a record is in a step.
        epochs, steps: One of them; an epoch is ``1 / sample_rate`` steps, rounded up, as a loader makes them
            of its last, smaller batch.
        accountant: Its name.
        epsilon_tolerance: How much of the budget may stay unspent.
        **kwargs: Passed on to the accountant's ``get_epsilon``.

    Raises:
        SettingError: If both or neither of epochs and steps are given, or no noise meets the target.
    """
    if (epochs is None) == (steps is None):
        raise SettingError(f"got epochs = {epochs} and steps = {steps}; expected exactly one of the two")
    if not epsilon_tolerance > 0:
        raise SettingError(
            f"got epsilon_tolerance = {epsilon_tolerance}; expected a positive number, such as 0.01"
        )
    validated_history([(1.0, sample_rate, 0)])
    count = (epochs or 0) * math.ceil(1 / sample_rate - RATE_ROUNDING) if steps is None else steps
    least = calibrate_noise_multiplier(target_epsilon, target_delta, sample_rate, count)
    counting = create_accountant(accountant)

    def epsilon_at(sigma: float) -> float:
        counting.history = [(sigma, sample_rate, count)]
        return counting.get_epsilon(target_delta, **kwargs)

    # the least noise by PLD is a start, since no accountant here is tighter; grow until enough, then bisect
    low, high = 0.9 * least, least
    epsilon_high = epsilon_at(high)
    while epsilon_high > target_epsilon:
        low, high = high, 1.25 * high
        if high > MAX_NOISE_MULTIPLIER:
            raise SettingError(
                f"no noise multiplier up to {MAX_NOISE_MULTIPLIER:g} reaches epsilon = {target_epsilon}; "
                "expected a larger epsilon"
            )
        epsilon_high = epsilon_at(high)
    while epsilon_high < target_epsilon - epsilon_tolerance and high - low > NOISE_RELATIVE_TOLERANCE * high:
        middle = (low + high) / 2
        epsilon_middle = epsilon_at(middle)
        if epsilon_middle > target_epsilon:
            low = middle
        else:
            high, epsilon_high = middle, epsilon_middle
    return high
