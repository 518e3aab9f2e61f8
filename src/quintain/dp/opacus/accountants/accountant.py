"""Accountants count steps and give an epsilon that is never too small."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.accounting.pld import check_delta, validated_history
from quintain.dp.opacus.refused import missing_name_getattr

__all__ = ["IAccountant"]
__getattr__ = missing_name_getattr(__name__)


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
