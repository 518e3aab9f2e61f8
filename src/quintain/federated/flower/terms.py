"""The terms of the sums in a Flower run, of which the server and each site keep a copy of their own."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import SettingError
from quintain.federated.secagg.encoding import Encoding, finest_encoding
from quintain.federated.secagg.keys import Roster
from quintain.federated.secagg.policy import HASH_BYTES, ROUND_BYTES, Policy, Task, default_threshold
from quintain.federated.secagg.primitives import tagged_hash
from quintain.federated.secagg.setting_types import check_types
from quintain.federated.secagg_sum import SecureSum
from quintain.federated.sum_result import check_entries


@dataclass(frozen=True, slots=True)
class RoundFacts:
    """The facts of one round, which each party takes from what it received, or sent, itself.

    Args:
        round_id: 16 bytes that no other round has.
        counter: Flower's number of the round.
        model_hash: Hash of the model.
        length: How many numbers an update has.
        run_id: Flower's number of the run.
        recipe: Hash of all else that sites are told: type and configuration of the message, and that of the
            run.
    """

    round_id: bytes
    counter: int
    model_hash: bytes
    length: int
    run_id: int
    recipe: str


NO_ROUND = RoundFacts(
    round_id=bytes(ROUND_BYTES), counter=0, model_hash=bytes(HASH_BYTES), length=1, run_id=0, recipe=""
)
"""Facts of no round at all, to check and to show terms by."""


@dataclass(frozen=True)
class SumTerms:
    """The terms on which server and sites agree beforehand; a site refuses a round of any other.

    Args:
        roster: The pinned identities.
        threshold: t of the secure aggregation; None for floor(2n/3) + 1.
        min_survivors: Fewest sites that make a sum; None for the threshold.
        max_corrupt: Largest number of sites that may collude with the server.
        clip_value: C: each entry of a site's update is cut to [-C, C].
        scale: The grid's steps a unit; None for the finest that cannot wrap.
        weights: Site to positive integer weight in the average, known to everybody and the same in all
            rounds; None for equal ones.

    Raises:
        SettingError: If the terms cannot hold for this roster.
    """

    roster: Roster
    threshold: int | None = None
    min_survivors: int | None = None
    max_corrupt: int = 1
    clip_value: float = 1.0
    scale: int | None = None
    weights: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        check_types(Roster, roster=self.roster)
        if self.weights is not None:
            check_types(Mapping, weights=self.weights)
            if set(self.weights) != set(self.roster.names):
                odd = ", ".join(sorted(map(str, set(self.weights) ^ set(self.roster.names))))
                raise SettingError(
                    f"weights does not fit the sites {', '.join(self.roster.names)}: {odd} unknown or missing"
                )
        self.policy(NO_ROUND)

    def policy(self, facts: RoundFacts) -> Policy:
        """Return the terms of one round."""
        num_sites = len(self.roster)
        threshold = default_threshold(num_sites) if self.threshold is None else self.threshold
        return Policy(
            roster=self.roster,
            round_id=facts.round_id,
            threshold=threshold,
            min_survivors=max(2, threshold) if self.min_survivors is None else self.min_survivors,
            encoding=self._encoding(facts.length),
            model_hash=facts.model_hash,
            max_corrupt=self.max_corrupt,
            task=Task(
                federation=f"flower run {facts.run_id} of {self.roster.digest.hex()}",
                counter=facts.counter,
                recipe=facts.recipe,
                weights=()
                if self.weights is None
                else tuple(self._weight[name] for name in self.roster.names),
            ),
        )

    def vector_hash(self, facts: RoundFacts) -> bytes:
        """Return a hash of what a kept update must fit, not the round: model, recipe, run, grid, weights.

        Another run may have another app, and so train in another way.
        """
        encoding = self._encoding(facts.length)
        text = repr((encoding, sorted(self._weight.items()), facts.run_id, facts.recipe)).encode()
        return tagged_hash("flower update", facts.model_hash, text)

    def relative_weight(self, name: str) -> float:
        """A site's weight over the largest one."""
        return self._weight[name] / max(self._weight.values())

    def mean(
        self, policy: Policy, integers: NDArray[np.int64], survivors: tuple[str, ...]
    ) -> NDArray[np.float64]:
        """Return the weighted average (length,) of the survivors' updates.

        Raises:
            ProtocolError: If these survivors cannot have made such a sum, by clip and public weights.
        """
        summing = SecureSum()
        weights = [self.relative_weight(name) for name in survivors]
        check_entries(integers, sum(summing.largest_entry(policy.encoding, weight) for weight in weights))
        return policy.encoding.decode(integers) / sum(weights)

    @cached_property
    def _weight(self) -> Mapping[str, int]:
        return dict.fromkeys(self.roster.names, 1) if self.weights is None else dict(self.weights)

    def _encoding(self, length: int) -> Encoding:
        if self.scale is None:
            return finest_encoding(length, self.clip_value, len(self.roster))
        return Encoding(length, self.clip_value, self.scale, len(self.roster))
