"""The training plan: what a server and each client agree on beforehand, each in a copy of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quintain.core.errors import ProtocolError, SettingError
from quintain.federated.aggregation import Aggregation
from quintain.federated.config import FederatedConfig
from quintain.federated.local import check_trainable, trainable
from quintain.federated.noise import DistributedNoise
from quintain.federated.secagg.encoding import EncodedVector, Encoding, finest_encoding
from quintain.federated.secagg.keys import Roster
from quintain.federated.secagg.policy import Policy, Task
from quintain.federated.secagg.primitives import tagged_hash
from quintain.federated.secagg.setting_types import check_types
from quintain.federated.secagg.weights import largest_fraction
from quintain.federated.strategies.fedavg import FedAvg
from quintain.federated.strategies.strategy import State, Strategy
from quintain.federated.sum_result import check_entries
from quintain.training import CleanCrossEntropy, Objective

CLEAN_CROSS_ENTROPY = CleanCrossEntropy()


@dataclass(frozen=True)
class TrainingPlan:
    """The settings from which each party makes the terms of every round by itself.

    Server and clients hold a plan each, from their own configuration. They never send one: a round's offer
    has every term or its hash, a client compares it with its own and refuses by the name of the first that
    differs.

    Args:
        roster: The pinned identities.
        config: Rounds, local recipe, clip, grid, threshold, public weights.
        length: How many numbers an update has.
        objective: The local loss.
        data: Which data a site trains on: how it is chosen and prepared.

    Raises:
        SettingError: If the settings cannot hold for this roster.
    """

    roster: Roster
    config: FederatedConfig
    length: int
    objective: Objective = CLEAN_CROSS_ENTROPY
    data: str = ""

    def __post_init__(self) -> None:
        check_types(Roster, roster=self.roster)
        check_types(FederatedConfig, config=self.config)
        if not callable(self.objective):
            raise SettingError(
                f"objective = {self.objective!r}; expected a loss as Objective says, such as "
                "CleanCrossEntropy()"
            )
        weights, names = self.config.weights, self.roster.names
        if weights is not None and set(weights) != set(names):
            odd = ", ".join(sorted(str(name) for name in set(weights) ^ set(names)))
            raise SettingError(f"weights does not fit the sites {', '.join(names)}: {odd} unknown or missing")
        self.policy(0, bytes(16), bytes(32))

    @classmethod
    def for_net(
        cls,
        roster: Roster,
        config: FederatedConfig,
        net: nn.Module,
        objective: Objective = CLEAN_CROSS_ENTROPY,
        data: str = "",
    ) -> "TrainingPlan":
        """Make the plan of training a net.

        Raises:
            ModelError: If it has no trainable parameter, or one in half precision.
        """
        check_types(nn.Module, net=net)
        common = config.strategy.common_model(net)
        check_trainable(common)
        length = sum(parameter.numel() for _, parameter in trainable(common))
        return cls(roster, config, length, objective, data)

    @property
    def strategy(self) -> Strategy:
        """How sites train together."""
        return self.config.strategy

    @cached_property
    def noise(self) -> DistributedNoise | None:
        """The noise on the sums; None where there is none."""
        given = self.config.client_noise
        if given is None:
            return None
        return given.on_sums(self.length, len(self.roster), self.config.max_corrupt)

    def check_aggregation(self, aggregation: Aggregation) -> None:
        """Refuse an aggregation that undoes the privacy of this plan, or cannot sum under its terms.

        Raises:
            SettingError: If sites would add shares of noise to vectors that the server sees one by one, noise
                is made for a sum of all sites and there are sums of groups, or no groups can be made of these
                sites.
        """
        aggregation.check_policy(self.policy(0, bytes(16), bytes(32)))
        if self.config.client_noise is not None:
            self.config.client_noise.check_aggregation(aggregation)

    def encoder(
        self, aggregation: Aggregation
    ) -> Callable[[NDArray[np.float64], Encoding, float], EncodedVector]:
        """Return what makes words of a site's update: the aggregation, or the noise where there is some."""
        clip_norm = self.config.clip_norm
        encode = aggregation.encode if self.noise is None else self.noise.encode_update
        if clip_norm is None:
            return encode

        def encode_clipped(
            update: NDArray[np.float64], encoding: Encoding, relative_weight: float
        ) -> EncodedVector:
            norm = float(np.linalg.norm(update))
            return encode(update * min(1.0, clip_norm / norm) if norm else update, encoding, relative_weight)

        return encode_clipped

    @cached_property
    def encoding(self) -> Encoding:
        """The grid of the updates."""
        if self.noise is not None:
            return self.noise.encoding
        clip, num_sites = self.config.clip_value, len(self.roster)
        if self.config.scale is None:
            return finest_encoding(self.length, clip, num_sites)
        return Encoding(self.length, clip, self.config.scale, num_sites)

    @cached_property
    def weights(self) -> Mapping[str, int]:
        """Site to public weight: constants of the plan, never read from a site's data."""
        given = self.config.weights
        return {name: 1 if given is None else int(given[name]) for name in self.roster.names}

    @property
    def threshold(self) -> int:
        """The t that is in force."""
        return self.config.terms(len(self.roster))[0]

    @property
    def min_survivors(self) -> int:
        """The fewest survivors that are in force."""
        return self.config.terms(len(self.roster))[1]

    @property
    def largest_fraction(self) -> float:
        """The largest part of a sum's weight that one site can have."""
        return largest_fraction(self.weights.values(), self.min_survivors, self.config.max_corrupt)

    def relative_weight(self, name: str) -> float:
        """A site's weight over the largest one."""
        return self.weights[name] / max(self.weights.values())

    @property
    def largest_mean(self) -> float:
        """The largest magnitude that an entry of an average can have, but for noise beyond its tail."""
        clip = self.encoding.clip_value
        # weights are inside of what the sites clip; noise is not weighted
        return clip if self.noise is None else clip / min(map(self.relative_weight, self.weights))

    def policy(self, counter: int, round_id: bytes, model_hash: bytes) -> Policy:
        """Return the terms of a round over a model, under an id of its own."""
        return Policy(
            roster=self.roster,
            round_id=round_id,
            threshold=self.threshold,
            min_survivors=self.min_survivors,
            encoding=self.encoding,
            model_hash=model_hash,
            max_corrupt=self.config.max_corrupt,
            task=replace(self._task, counter=counter, recipe=f"{self._recipe}; {self._course}"),
        )

    def mean(self, integers: NDArray[np.int64], survivors: tuple[str, ...]) -> Tensor:
        """Return the weighted average (length,) of the survivors' updates, in float64, from their sum."""
        total = self.encoding.decode(integers)
        total /= sum(self.relative_weight(name) for name in survivors)
        return torch.from_numpy(total)

    def step(
        self, integers: NDArray[np.int64], survivors: tuple[str, ...], state: State
    ) -> tuple[Tensor, State]:
        """Return the change of the common model (length,) by the survivors' sum, and what to remember.

        Args:
            integers: (num_words,) their sum.
            survivors: Whose sum it is.
            state: What the strategy remembers at the server.
        """
        fraction = sum(self.weights[name] for name in survivors) / sum(self.weights.values())
        return self.strategy.step(self.mean(integers, survivors), state, fraction)

    def check_sum(
        self, integers: NDArray[np.int64], survivors: tuple[str, ...], aggregation: Aggregation
    ) -> None:
        """Refuse a sum that these survivors cannot have made, by clip and public weights.

        Raises:
            ProtocolError: If they cannot.
        """
        unknown = set(survivors) - set(self.roster.names)
        if unknown or len(set(survivors)) != len(survivors) or len(survivors) < self.min_survivors:
            raise ProtocolError(
                f"a sum over {', '.join(survivors) or 'nobody'}; expected at least {self.min_survivors} "
                "sites of the roster, each once"
            )
        if integers.shape != (self.encoding.num_words,):
            raise ProtocolError(
                f"a sum of {integers.shape} words; expected ({self.encoding.num_words},): discard it"
            )
        if self.noise is not None:
            check_entries(integers, len(survivors) * self.encoding.max_abs)
            return
        bounds = (aggregation.largest_entry(self.encoding, self.relative_weight(name)) for name in survivors)
        check_entries(integers, sum(bounds))

    @property
    def fingerprint(self) -> str:
        """A hash of all terms but the keys: what a stored state of the training must have been made under."""
        anonymous = replace(self._task, federation="")
        encoding = self.encoding
        grid = (encoding.length, encoding.clip_value, encoding.scale, encoding.num_sites)
        numbers = (self.config.rounds, self.threshold, self.min_survivors, self.config.max_corrupt, *grid)
        names = (name.encode() for name in self.roster.names)
        texts = (repr(number).encode() for number in numbers)
        return tagged_hash("plan", *names, *texts, *anonymous.digests.values()).hex()

    @cached_property
    def _task(self) -> Task:
        return Task(
            federation=self.roster.digest.hex(),
            recipe=self._recipe,
            objective=repr(self.objective),
            data=self.data,
            weights=tuple(self.weights.values()),
        )

    @property
    def _course(self) -> str:
        """What of the plan no other term of a round has, in words."""
        return f"rounds={self.config.rounds}, min_cohort_change={self.config.min_cohort_change}"

    @property
    def _recipe(self) -> str:
        """How a site makes its update, privacy included."""
        config = self.config
        strategy = None if self.strategy == FedAvg() else self.strategy
        parts = (config.local_recipe, config.site_privacy, config.client_noise, strategy)
        words = [repr(part) for part in parts if part is not None]
        return "; ".join(words if config.clip_norm is None else [*words, f"clip_norm={config.clip_norm!r}"])
