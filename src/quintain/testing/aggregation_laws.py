"""The laws of aggregations: the exact sum of those who answer or none, and no vector told to the server."""

from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, ks_2samp

from quintain.core.errors import DataError, ProtocolError, SettingError
from quintain.federated import DropoutStage
from quintain.federated.aggregate import secure_sum
from quintain.federated.aggregation import Aggregation
from quintain.federated.secagg.messages import MessageType
from quintain.federated.sum_result import SecureSumResult
from quintain.federated.transport import Exchange
from quintain.federated.view import ServerView
from quintain.testing.checking import Law, require, run_laws

Vectors = Mapping[str, NDArray[np.float64]]
Aggregate = Callable[..., SecureSumResult]
"""An aggregation as ``quintain.federated.secure_sum``: vectors by site to their sum."""

SITES = ("north", "east", "south", "west")
REJECTED_P_VALUE = 1e-9
"""Below this p-value, bytes of an upload are told apart; by chance alone it is never that low."""


class TamperingTransport:
    """A wire that changes one message of one site, on its way there or back.

    Args:
        transport: What carries the messages.
        message_type: Which message is changed.
        site: The index of the site that it goes to, or comes from.
        change: What becomes of its bytes.

    Attributes:
        size: How many bytes the message had, once it has passed.
    """

    def __init__(
        self, transport: Exchange, message_type: MessageType, site: int, change: Callable[[bytes], bytes]
    ) -> None:
        self.transport, self.message_type, self.site, self.change = transport, message_type, site, change
        self.size = 0
        self._turn = 0

    def exchange(self, outgoing: Mapping[int, bytes]) -> Mapping[int, bytes]:
        """Deliver the messages of one stage and return the replies, one of them changed."""
        turn, self._turn = self._turn, self._turn + 2
        return self._changed(turn + 1, self.transport.exchange(self._changed(turn, outgoing)))

    def _changed(self, turn: int, messages: Mapping[int, bytes]) -> Mapping[int, bytes]:
        if turn != self.message_type or self.site not in messages:
            return messages
        self.size = len(messages[self.site])
        return {**messages, self.site: self.change(messages[self.site])}


def check_aggregation(aggregation: Aggregate | Aggregation) -> None:
    """Check all laws of aggregations on one.

    One that takes ``dropouts`` is asked about silent sites, one that takes ``weights`` for weighted means,
    and one that hides updates whether its uploads hide the vectors.

    Args:
        aggregation: An ``Aggregation``, or a function called as ``quintain.federated.secure_sum``, which
            hides updates if it guarantees something; it is not held to its ``exemptions``.

    Raises:
        AssertionError: If it breaks any law; the message names each, with what was seen.
    """
    hides: bool | str
    if isinstance(aggregation, Aggregation):
        hides, aggregate = aggregation.hides_updates, partial(secure_sum, aggregation=aggregation)
    else:
        hides, aggregate = getattr(aggregation, "guarantee", ""), partial(aggregation)
    laws: list[Law] = [
        ("the sum is exact", partial(check_sum_exact, aggregate, {})),
        ("bad vectors are refused", partial(check_bad_vectors_refused, aggregate)),
    ]
    facts: Any = aggregation
    taken = signature(aggregate).parameters
    if "dropouts" in taken:
        laws.append(("silent sites", partial(check_silent_sites, aggregate)))
    if "weights" in taken:
        laws.append(("weights", partial(check_weighted_mean, aggregate)))
    if hides:
        laws.append(("uploads hide their vectors", partial(check_uploads_hide, aggregate)))
    run_laws(f"the aggregation {getattr(facts, 'name', 'given')}", laws, getattr(facts, "exemptions", ()))


def site_vectors(length: int = 40, *, seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """Return a random vector (length,) in [-1, 1] for each of four sites."""
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-1, 1, length) for name in SITES}


def check_sum_exact(aggregate: Aggregate, dropouts: Mapping[str, DropoutStage]) -> None:
    """The result is the sum over exactly the survivors that it names, up to the grid, or there is none.

    Args:
        aggregate: The aggregation.
        dropouts: Site to the stage from which it is silent.

    Raises:
        AssertionError: If not, or if the round is abandoned though nobody is silent.
    """
    given = site_vectors()
    before = {name: vector.copy() for name, vector in given.items()}
    try:
        result = aggregate(given, dropouts=dropouts) if dropouts else aggregate(given)
    except ProtocolError as error:
        require(bool(dropouts), "a sum where every site answers", f"{error}")
        return
    survivors = result.survivors
    require(
        {*survivors, *result.dropped} == set(SITES), "every site among survivors or dropped", f"{survivors}"
    )
    expected = set(SITES) - {
        site for site, stage in dropouts.items() if stage.first_missing <= MessageType.MASKED
    }
    require(set(survivors) == expected, f"the survivors {sorted(expected)}", f"{sorted(survivors)}")
    apart = float(np.abs(result.total - sum(given[name] for name in survivors)).max())
    grid = len(survivors) / result.encoding.scale
    require(apart <= grid, f"the sum over the survivors within {grid:g}", f"{apart:g} apart")
    same = all(np.array_equal(before[name], vector) for name, vector in given.items())
    require(same, "the vectors as they were")


def check_silent_sites(aggregate: Aggregate) -> None:
    """Whoever falls silent at whatever stage, one site or two, the sum is exact or the round is abandoned.

    Args:
        aggregate: The aggregation.

    Raises:
        AssertionError: If not.
    """
    for stage in DropoutStage:
        for count in (1, 2):
            for silent in combinations(SITES, count):
                check_sum_exact(aggregate, dict.fromkeys(silent, stage))


def check_weighted_mean(aggregate: Aggregate) -> None:
    """With weights, which are equal since others may be refused, the result has their sum, and the mean.

    Args:
        aggregate: The aggregation.

    Raises:
        AssertionError: If not.
    """
    given, weights = site_vectors(), dict.fromkeys(SITES, 5)
    result = aggregate(given, weights=weights)
    wanted = np.mean([given[name] for name in SITES], axis=0)
    apart, grid = float(np.abs(result.mean - wanted).max()), len(SITES) * 8 / result.encoding.scale
    require(result.weight == sum(weights.values()), f"the weight {sum(weights.values())}", f"{result.weight}")
    require(apart <= grid, f"the weighted mean within {grid:g}", f"{apart:g} apart")


def check_uploads_hide(aggregate: Aggregate) -> None:
    """What the server gets of a site is the same whichever vector gives the same total, byte by byte.

    Masked words are uniform as well; ciphertexts are not, by their format.

    Args:
        aggregate: The aggregation.

    Raises:
        AssertionError: If the bytes of uploads are told apart, with a p-value below 1e-9.
    """
    seen, is_masked = [], True
    for candidate in (0.4, -0.4):
        values = (candidate, 0.5 - candidate, 0.0, 0.0)
        given = {name: np.full(4000, value) for name, value in zip(SITES, values, strict=True)}
        view = aggregate(given).server_view
        is_masked = bool(view.masked_vectors)
        seen.append(_uploads(view))
    for data in seen if is_masked else ():
        counts = np.bincount(data, minlength=256)
        p_value = float(chi2.sf(((counts - counts.mean()) ** 2 / counts.mean()).sum(), 255))
        require(p_value > REJECTED_P_VALUE, "uniform bytes in what the server gets", f"p = {p_value:.2g}")
    p_value = float(ks_2samp(seen[0], seen[1]).pvalue)
    require(p_value > REJECTED_P_VALUE, "the same bytes whatever the vector", f"p = {p_value:.2g}")


def _uploads(view: ServerView) -> NDArray[np.uint8]:
    """The bytes of the masked words, or of each site's first message where there are none such."""
    masked = view.masked_vectors
    if masked:
        return np.concatenate([words.view(np.uint8) for words in masked.values()])
    first = {letter.site: letter.data for letter in reversed(view.received)}
    return np.frombuffer(b"".join(first.values()), np.uint8)


def check_bad_vectors_refused(aggregate: Aggregate) -> None:
    """NaN raises ``DataError``, and a single site, whose sum hides nothing, ``SettingError``.

    Args:
        aggregate: The aggregation.

    Raises:
        AssertionError: If they do not.
    """
    given = site_vectors()
    ill = {**given, "east": np.full(40, np.nan)}
    refused: list[tuple[str, type[Exception], Callable[[], object]]] = [
        ("a vector of NaN", DataError, lambda: aggregate(ill)),
        (
            "a single site, whose sum hides nothing",
            SettingError,
            lambda: aggregate({"north": given["north"]}),
        ),
    ]
    for what, error_type, call in refused:
        try:
            call()
        except error_type:
            continue
        require(False, f"{what} to raise {error_type.__name__}", "a sum")
