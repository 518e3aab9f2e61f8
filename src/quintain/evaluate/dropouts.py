"""Which sites of a simulated federated training fall silent, in which rounds, and at which stage."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quintain.core.errors import SettingError
from quintain.core.seeds import derive_seed
from quintain.federated.secagg.messages import MessageType
from quintain.federated.transport import DropoutStage

Dropouts = dict[int, dict[str, DropoutStage]]


@dataclass(frozen=True, slots=True)
class Silence:
    """How many sites fall silent in each round.

    Args:
        fraction: Of the sites, rounded down, that drop out: other ones in each round, at stages in turn.
        stragglers: Sites whose vector comes after the deadline, besides.

    Raises:
        SettingError: If one is out of range.
    """

    fraction: float = 0.0
    stragglers: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.fraction < 1:
            raise SettingError(f"drop = {self.fraction:g}; expected a part of the sites, from 0 to below 1")
        if self.stragglers < 0:
            raise SettingError(f"stragglers = {self.stragglers}; expected 0 sites or more")

    def num_dropped(self, num_sites: int) -> int:
        """Return how many sites drop out of each round."""
        # 0.3 times 10 is a little less than 3 in floating point
        return math.floor(self.fraction * num_sites + 1e-9)

    def num_silent(self, num_sites: int) -> int:
        """Return how many sites' vectors may be missing from each sum."""
        return self.num_dropped(num_sites) + self.stragglers


def planned_dropouts(
    names: Sequence[str], rounds: int, silence: Silence, replies: Sequence[MessageType], seed: int
) -> Dropouts:
    """Draw the sites that fall silent in each round.

    Args:
        names: All sites.
        rounds: How many rounds there are.
        silence: How many sites.
        replies: Those of the aggregation: at the others of secure aggregation nobody can drop out.
        seed: Decides which sites.
    """
    stages = [
        stage for stage in DropoutStage if stage is not DropoutStage.LATE and stage.first_missing in replies
    ]
    dropped, silent = silence.num_dropped(len(names)), silence.num_silent(len(names))
    planned: Dropouts = {}
    for index in range(rounds if silent else 0):
        order = np.random.default_rng(derive_seed(seed, "dropouts", index)).permutation(len(names))
        planned[index] = {
            names[site]: stages[(index * dropped + k) % len(stages)] if k < dropped else DropoutStage.LATE
            for k, site in enumerate(order[:silent])
        }
    return planned


def check_silence(silence: Silence, num_sites: int, min_survivors: int) -> None:
    """Refuse so many silent sites that no round could come to a sum.

    Raises:
        SettingError: If fewer would be left than a sum needs.
    """
    silent = silence.num_silent(num_sites)
    if num_sites - silent < min_survivors:
        raise SettingError(
            f"drop = {silence.fraction:g} and stragglers = {silence.stragglers} silence {silent} of "
            f"{num_sites} sites in each round, and a sum needs {min_survivors}: expected at most "
            f"{num_sites - min_survivors} silent ones, or more sites"
        )
