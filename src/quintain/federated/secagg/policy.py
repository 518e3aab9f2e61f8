"""The policy of a site: the terms of a round, which the server may repeat but never change."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from quintain.core.errors import SettingError
from quintain.federated.secagg.encoding import Encoding
from quintain.federated.secagg.keys import Roster
from quintain.federated.secagg.mask_graph import sparse_parameters
from quintain.federated.secagg.primitives import tagged_hash
from quintain.federated.secagg.setting_types import check_integers, check_types
from quintain.federated.secagg.weights import check_weights

if TYPE_CHECKING:
    from quintain.federated.secagg.graph import GraphParameters

ROUND_BYTES = 16
HASH_BYTES = 32


def default_threshold(num_sites: int) -> int:
    """floor(2n/3) + 1: it stands ceil(n/3) - 1 sites that side with the server."""
    return 2 * num_sites // 3 + 1


@dataclass(frozen=True)
class Task:
    """What the sites have agreed to compute in this round, in words that all of them spell alike.

    A bare sum leaves it empty.

    Every field is bound into the keys of the round: sites that differ in one of them get masks that do not
    cancel, and are told which.

    Args:
        federation: Which federation this is.
        counter: The round's number in it.
        recipe: How each site trains.
        objective: The local loss.
        data: Which data a site trains on: how it is chosen and prepared.
        weights: Public weights by which the sites scale their vectors, in the roster's order; empty for equal
            ones.

    Raises:
        SettingError: If a text or a weight is of another type, or the counter no integer in [0, 2^63).
    """

    federation: str = ""
    counter: int = 0
    recipe: str = ""
    objective: str = ""
    data: str = ""
    weights: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_integers(counter=self.counter)
        if not 0 <= self.counter < 2**63:
            raise SettingError(f"counter = {self.counter}; expected the round's number, 0 or more")
        check_types(str, **self.texts)
        check_types(tuple, weights=self.weights)
        check_integers(**{f"weight {place}": weight for place, weight in enumerate(self.weights)})
        object.__setattr__(self, "weights", tuple(int(weight) for weight in self.weights))

    @property
    def texts(self) -> dict[str, str]:
        """The fields that are text, by name."""
        return {
            "federation": self.federation,
            "recipe": self.recipe,
            "objective": self.objective,
            "data": self.data,
        }

    @cached_property
    def digests(self) -> dict[str, bytes]:
        """A hash of each text and of the weights, by name: what an offer shows of it."""
        texts = {name: tagged_hash("task", name.encode(), text.encode()) for name, text in self.texts.items()}
        return {
            **texts,
            "weights": tagged_hash("task", b"weights", *(f"{weight:x}".encode() for weight in self.weights)),
        }


@dataclass(frozen=True)
class Policy:
    r"""The terms of one round, equal at all sites.

    Args:
        roster: The pinned identities; n = their number.
        round_id: 16 bytes that no other round has.
        threshold: t: sites that must agree on who survived; where all pairs share masks also the shares
            that rebuild a secret.
        min_survivors: Fewest survivors whose sum may be opened: at most n less this many drop out.
        encoding: How vectors become words.
        model_hash: 32 bytes: hash of the model that this site received, buffers included; sites with
            different models get masks that do not cancel.
        max_corrupt: Largest number of sites that may collude with the server.
        task: What is computed with that model.

    Raises:
        SettingError: Unless :math:`2t > n + corrupt`, so that two different survivor lists cannot both win,
            and t, minimum <= n; or if fewer than two sites are left beside the ``corrupt`` ones, whose own
            vectors taken off the sum would leave a single one; or if a site's public weight stands out more
            than one of two equals, or is too small to be seen (``secagg.weights``).
    """

    roster: Roster
    round_id: bytes
    threshold: int
    min_survivors: int
    encoding: Encoding
    model_hash: bytes
    max_corrupt: int = 1
    task: Task = Task()

    def __post_init__(self) -> None:
        check_types(Roster, roster=self.roster)
        check_types(bytes, round_id=self.round_id, model_hash=self.model_hash)
        check_types(Encoding, encoding=self.encoding)
        check_types(Task, task=self.task)
        check_integers(
            threshold=self.threshold, min_survivors=self.min_survivors, max_corrupt=self.max_corrupt
        )
        num_sites = len(self.roster)
        check_threshold(self.threshold, num_sites, self.max_corrupt)
        if not max(2, self.threshold) <= self.min_survivors <= num_sites:
            raise SettingError(
                f"min_survivors = {self.min_survivors} survivors; "
                f"expected max(2, threshold = {self.threshold}) <= min_survivors <= {num_sites} sites"
            )
        if len(self.round_id) != ROUND_BYTES or len(self.model_hash) != HASH_BYTES:
            raise SettingError(
                f"a round id of {len(self.round_id)} and a model hash of {len(self.model_hash)} bytes; "
                f"expected {ROUND_BYTES} and {HASH_BYTES}"
            )
        if self.encoding.num_sites != num_sites:
            raise SettingError(
                f"the encoding is proven for {self.encoding.num_sites} sites and the roster lists "
                f"{num_sites}; they must be equal"
            )
        if self.task.weights:
            if len(self.task.weights) != num_sites:
                raise SettingError(
                    f"{len(self.task.weights)} weights for {num_sites} sites; expected one each, or none for "
                    "equal ones"
                )
            check_weights(
                dict(zip(self.roster.names, self.task.weights, strict=True)),
                self.min_survivors,
                self.max_corrupt,
                self.encoding.max_abs,
            )

    @property
    def sparse_graph(self) -> "GraphParameters | None":
        """The parameters of the graph of masks, from the other terms; None where all pairs share masks."""
        num_sites = len(self.roster)
        return sparse_parameters(num_sites, self.max_corrupt, num_sites - self.min_survivors)

    def digest(self) -> bytes:
        """Return the first link of the transcript: a hash of all terms."""
        return self._digest

    @cached_property
    def _digest(self) -> bytes:
        """The first link of the transcript: every term, each with its length in front."""
        encoding, task = self.encoding, self.task
        sizes = (encoding.length, encoding.scale, encoding.num_sites, encoding.max_weight)
        numbers = (self.threshold, self.min_survivors, self.max_corrupt, *sizes, task.counter)
        terms = (
            *(str(int(number)).encode() for number in numbers),
            float(encoding.clip_value).hex().encode(),
        )
        graph = self.sparse_graph
        sparse = () if graph is None else (str(graph.degree).encode(), str(graph.threshold).encode())
        return tagged_hash(
            "policy",
            self.round_id,
            self.roster.digest,
            self.model_hash,
            *terms,
            *task.digests.values(),
            *sparse,
        )

    @property
    def computes(self) -> bytes:
        """Return a hash of what decides a site's vector over a given model.

        Two sums that differ in it are never of the same vectors.
        """
        encoding, task = self.encoding, self.task
        sizes = (encoding.length, encoding.scale, encoding.num_sites, encoding.max_weight)
        grid = (*(str(size).encode() for size in sizes), float(encoding.clip_value).hex().encode())
        texts = (digest for name, digest in task.digests.items() if name not in {"federation", "weights"})
        return tagged_hash("computes", *grid, *texts, self._weights)

    @property
    def _weights(self) -> bytes:
        """Return a hash of which site has which weight, in whatever order a roster lists them.

        Where all weights are equal it is the hash of nothing.
        """
        by_site = sorted(zip(self.roster.keys, self.task.weights, strict=False))
        return tagged_hash(
            "weights", *(part for key, weight in by_site for part in (key, f"{weight:x}".encode()))
        )


def check_threshold(threshold: int, num_sites: int, max_corrupt: int) -> None:
    """Refuse a threshold that lets two survivor lists win, that cannot be met, or that hides nothing.

    Raises:
        SettingError: Unless (parties + corrupt) / 2 < threshold <= parties, corrupt >= 0 and parties -
            corrupt >= 2.
    """
    if max_corrupt < 0:
        raise SettingError(
            f"max_corrupt = {max_corrupt}; expected how many sites may side with the server, 0 or more"
        )
    if num_sites - max_corrupt < 2:
        raise SettingError(
            f"max_corrupt = {max_corrupt} of {num_sites} sites may side with the server; expected at least "
            "two others, since the sum less their own vectors is what the others sent: add sites, or set "
            "max_corrupt = 0 if the sites trust each other"
        )
    if not num_sites + max_corrupt < 2 * threshold <= 2 * num_sites:
        raise SettingError(
            f"threshold = {threshold} of {num_sites} sites, {max_corrupt} of which may side with the server; "
            f"expected {(num_sites + max_corrupt) // 2 + 1} to {num_sites}, since 2t > n + corrupt keeps two "
            "survivor lists from both winning"
        )
