"""What attacks are run with: the settings that all processes of a run agree on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from quintain.attacks.base import Attack
from quintain.attacks.outcome import AttackOutcome
from quintain.threats.threat import Threat

AttackFn = Callable[..., AttackOutcome]
"""An attack: an ``Attack``, or any function that is called as one."""


@dataclass(frozen=True, slots=True)
class AttackJob:
    """What every process of a run must agree on.

    Args:
        threats: Threats of one type, from the smallest eps up.
        attacks: Attacks by name.
        seed: Seed of all random numbers.
        batch_size: Examples at a time. Random numbers belong to the example, so only rounding depends on it.
        max_queries: Limit of queries for each example, attack and threat; no limit if not given.
        target_class: The class that the attacks aim at; any wrong one if not given.
        num_pictures: How many adversarial examples are kept as images.
        probed: Rows whose adversarial examples are kept for the diagnostics.
    """

    threats: tuple[Threat, ...]
    attacks: Mapping[str, AttackFn]
    seed: int
    batch_size: int
    max_queries: int | None = None
    target_class: int | None = None
    num_pictures: int = 0
    probed: frozenset[int] = frozenset()

    def validate(self) -> None:
        """Raise, before any work, if an attack does not support the threats, the target or the query limit.

        Raises:
            SettingError: If one does not.
        """
        for attack in self.attacks.values():
            if isinstance(attack, Attack):
                # whether there are targets decides, and not which
                targets = None if self.target_class is None else torch.zeros(1, dtype=torch.long)
                attack.check_supported(self.threats[-1], targets, self.max_queries)

    def threats_for(self, attack: AttackFn) -> tuple[Threat, ...]:
        """Return the threats at which an attack is run: for a minimum-norm attack only the largest."""
        return self.threats[-1:] if getattr(attack, "minimum_norm", False) else self.threats

    @property
    def fingerprint(self) -> dict[str, object]:
        """Settings that must be the same when a run is resumed."""
        return {
            "threats": [threat.spec for threat in self.threats],
            "attacks": {name: repr(attack) for name, attack in self.attacks.items()},
            "seed": self.seed,
            "batch_size": self.batch_size,
            "max_queries": self.max_queries,
            "target_class": self.target_class,
            "num_pictures": self.num_pictures,
        }
