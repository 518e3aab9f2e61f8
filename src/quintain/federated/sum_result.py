"""The result of one sum, and what is checked of it beside the protocol."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import ProtocolError, SettingError
from quintain.federated.aggregation import RoundSum
from quintain.federated.secagg.encoding import WORD_DTYPE, EncodedVector, Encoding
from quintain.federated.secagg.policy import Policy
from quintain.federated.view import ServerView


@dataclass(frozen=True, slots=True)
class SecureSumResult:
    """The sum of the survivors' vectors, with its round.

    ``exact`` and ``left`` are known to a simulation alone.

    Args:
        total: (length,) the sum of x over the survivors, of w x where weights are given; exact on the grid of
            the encoding.
        integers: (num_words,) the same as signed integers, the weight's slot included.
        weight: The summed weight; 0 for a plain sum.
        survivors: Whose vectors are in it.
        dropped: Whose are not.
        exact: Whether ``integers`` equals the plain integer sum of the survivors' own words; worked out
            beside the server.
        refused: Sites whose messages did not hold up: name to reason.
        accused: Sites that are proven to have lied to the server: of a share that they were dealt.
        encoding: The grid.
        server_view: Everything that the server saw.
        bytes_uploaded: Bytes that each site sent.
        seconds: From the offer to the sum.
        left: Sites that went silent by themselves, since they refused to go on or could not: name to reason.
    """

    total: NDArray[np.float64] = field(repr=False)
    integers: NDArray[np.int64] = field(repr=False)
    weight: int
    survivors: tuple[str, ...]
    dropped: tuple[str, ...]
    exact: bool
    refused: Mapping[str, str]
    accused: tuple[str, ...]
    encoding: Encoding
    server_view: ServerView = field(repr=False)
    bytes_uploaded: Mapping[str, int]
    seconds: float
    left: Mapping[str, str] = field(default_factory=dict)

    @property
    def mean(self) -> NDArray[np.float64]:
        """(length,) the average over the survivors, weighted where weights are given.

        Raises:
            SettingError: If the weights sum to 0, or below where a site lied about its own.
        """
        if self.encoding.max_weight and self.weight < 1:
            raise SettingError(
                f"the weights of all survivors sum to {self.weight}; expected at least one site with examples"
            )
        return self.total / (self.weight if self.encoding.max_weight else len(self.survivors))


def result_of(
    policy: Policy,
    found: RoundSum,
    encoded: Mapping[str, EncodedVector],
    view: ServerView,
    *,
    seconds: float,
    left: Mapping[str, str],
    reference: NDArray[np.int64] | None = None,
) -> SecureSumResult:
    """Return a sum with what only a simulation knows of it: whether it is exact, and why sites left.

    Args:
        policy: The terms.
        found: The sum, as the server knows it.
        encoded: Site to encoded vector (num_words,), of the survivors at least.
        view: What the server saw.
        seconds: What it took.
        left: Sites that went silent by themselves, and why.
        reference: What it is to be; the plain sum of the survivors' vectors if not given.
    """
    if reference is None:
        reference = reference_sum(policy.encoding, {name: encoded[name] for name in found.survivors})
    return SecureSumResult(
        total=policy.encoding.decode(found.integers),
        integers=found.integers,
        weight=policy.encoding.decode_weight(found.integers),
        survivors=found.survivors,
        dropped=found.dropped,
        exact=bool(np.array_equal(found.integers, reference)),
        refused=found.refused,
        accused=found.accused,
        encoding=policy.encoding,
        server_view=view,
        bytes_uploaded=view.bytes_uploaded,
        seconds=seconds,
        left=left,
    )


def check_entries(integers: NDArray[np.int64], bound: int) -> None:
    """Refuse a sum beyond what its survivors' public weights allow.

    The server's own check knows the clip alone.
    """
    if max(int(integers.max()), -int(integers.min())) > bound:
        worst = int(np.abs(integers).argmax())
        raise ProtocolError(
            f"entry {worst} of the sum is {integers[worst]} grid steps; expected at most {bound} in "
            "magnitude, as clip and public weights allow: a site lied about its vector, discard this sum"
        )


def reference_sum(encoding: Encoding, encoded: Mapping[str, EncodedVector]) -> NDArray[np.int64]:
    """Add the vectors as signed 64-bit integers, without a protocol: the reference of tests."""
    total = np.zeros(encoding.num_words, np.int64)
    for vector in encoded.values():
        total += vector.astype(WORD_DTYPE).view(np.dtype("<i4")).astype(np.int64)
    return total
