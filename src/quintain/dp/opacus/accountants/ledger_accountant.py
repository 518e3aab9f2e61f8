"""The engine's accountant, which reads the ledger."""

from collections.abc import Mapping
from typing import Any

from quintain.core.errors import PrivacyError
from quintain.dp.accounting.ledger import Ledger
from quintain.dp.opacus.accountants.registry import create_accountant

POISSON_GAUSSIAN = ("poisson", "gaussian", 0)
"""Sampling, mechanism and choice that every accountant can count; other steps only the ledger can."""


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
