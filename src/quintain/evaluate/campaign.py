"""Every attack at every size on every batch, piece by piece, each written down when it is finished."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from quintain.attacks.base import Attack
from quintain.attacks.outcome import AttackOutcome
from quintain.core.errors import ExecutionError, StorageError
from quintain.core.progress import Progress, no_progress
from quintain.data.dataset import Dataset
from quintain.evaluate.pieces import Piece, Pieces, Place
from quintain.evaluate.shrink import shrunk
from quintain.evaluate.team import ALONE, Team
from quintain.models.protocol import ClassifierLike
from quintain.threats.parametric import ParametricThreat
from quintain.threats.threat import Threat

AttackFn = Callable[..., AttackOutcome]


@dataclass(frozen=True, slots=True)
class Orders:
    """What every process of a run must agree on.

    Args:
        sizes: Threats of one kind, rising.
        attacks: By name.
        seed: Of all draws.
        batch: Examples at a time; where the batches end decides nothing but rounding.
        queries: How often each attack may ask about an example at each size; no limit if not given.
        target: The class to be answered; any wrong one if not given.
        pictures: How many broken examples' images are kept.
        probed: Rows whose broken images are kept for the signs of trust.
    """

    sizes: tuple[Threat, ...]
    attacks: Mapping[str, AttackFn]
    seed: int
    batch: int
    queries: int | None = None
    target: int | None = None
    pictures: int = 0
    probed: frozenset[int] = frozenset()

    def require(self) -> None:
        """Refuse, before any work, an attack that cannot do what is asked.

        Raises:
            SettingError: If there is one.
        """
        for attack in self.attacks.values():
            if isinstance(attack, Attack):
                aims = None if self.target is None else torch.zeros(1, dtype=torch.long)
                attack.check_supported(self.sizes[-1], aims, self.queries)

    def asked(self, attack: AttackFn) -> tuple[Threat, ...]:
        """The sizes at which an attack is run: the largest alone where it seeks the smallest change."""
        return self.sizes[-1:] if getattr(attack, "minimum_norm", False) else self.sizes

    @property
    def told(self) -> dict[str, object]:
        """The settings that change a piece, for a run that goes on."""
        return {
            "threats": [threat.spec for threat in self.sizes],
            "attacks": {name: repr(attack) for name, attack in self.attacks.items()},
            "seed": self.seed,
            "batch": self.batch,
            "queries": self.queries,
            "target": self.target,
            "pictures": self.pictures,
        }


@dataclass(slots=True)
class Findings:
    """What a process has found.

    Args:
        pieces: By place.
        whole: Batches that every attack has met.
        halted: Why the process broke off; empty where it did not.
    """

    pieces: dict[Place, Piece] = field(default_factory=dict)
    whole: set[int] = field(default_factory=set)
    halted: str = ""


def carried_out(
    orders: Orders,
    model: ClassifierLike,
    data: Dataset,
    right: np.ndarray,
    safe: np.ndarray,
    *,
    store: Pieces | None = None,
    team: Team = ALONE,
    progress: Progress = no_progress,
    label: str = "attack",
) -> Findings:
    """This process' share of the run; a model that dies half way ends it, and what was finished stays.

    Args:
        orders: What is asked.
        model: The target.
        data: All examples.
        right: Which of them are answered rightly (N,) bool: the others are not attacked.
        safe: Radii that are proved (N,): such an example is not attacked at a size that it covers.
        store: Where pieces are kept, and found again.
        team: Who else works.
        progress: Shows a bar of examples.
        label: Of the bar.

    Raises:
        ExecutionError: If the model failed before anything was found.
    """
    found, seen = Findings(), set[int]()
    starts = [start for number, start in enumerate(range(0, len(data), orders.batch)) if team.takes(number)]
    runs = sum(len(orders.asked(attack)) for attack in orders.attacks.values())
    total = runs * sum(min(start + orders.batch, len(data)) - start for start in starts)
    with progress.bar(label, total) as advance:
        try:
            for start in starts:
                rows = np.arange(start, min(start + orders.batch, len(data)))
                number = start // orders.batch
                for place, piece in _met(orders, model, data, rows, number, right[rows], safe[rows], seen, store):
                    found.pieces[place] = piece
                    advance(len(rows))
                found.whole.add(number)
        except StorageError:
            raise
        except ExecutionError as error:
            if not found.pieces and team.size == 1:
                raise
            found.halted = str(error)
    return found


def together(team: Team, own: Findings) -> Findings:
    """What all processes found.

    Raises:
        ExecutionError: If the model failed before anything was found.
    """
    every = Findings()
    for block in team.gathered(_packed(own)):
        one = _unpacked(block)
        every.pieces |= one.pieces
        every.whole |= one.whole
        every.halted = every.halted or one.halted
    if every.halted and not every.pieces:
        raise ExecutionError(every.halted)
    return every


def _met(
    orders: Orders,
    model: ClassifierLike,
    data: Dataset,
    rows: np.ndarray,
    number: int,
    right: np.ndarray,
    safe: np.ndarray,
    seen: set[int],
    store: Pieces | None,
) -> Iterator[tuple[Place, Piece]]:
    """One batch: every attack meets what was right; a larger size what the smaller ones left."""
    x, y = data.batch(rows)
    failed = np.zeros(len(rows), dtype=bool)
    for name, attack in orders.attacks.items():
        standing = right & ~failed
        for threat in orders.asked(attack):
            place = Place(number, name, threat.spec)
            here = np.flatnonzero(standing & ~((safe >= threat.eps) & (safe > 0)))
            piece = store.get(place) if store is not None else None
            if piece is None:
                piece = _found(orders, model, attack, threat, x[here], y[here], rows[here], seen) if len(here) else Piece.empty(data.shape)
                if store is not None and len(here):
                    store.put(place, piece)
            seen.update(piece.kept.tolist())
            failed[here] |= piece.failed
            standing[here] &= ~(piece.broken | piece.failed)
            yield place, piece


def _found(
    orders: Orders, model: ClassifierLike, attack: AttackFn, threat: Threat, x: Tensor, y: Tensor, rows: np.ndarray, seen: set[int]
) -> Piece:
    words: dict[str, object] = {} if orders.queries is None else {"max_queries": orders.queries}
    targets = None if orders.target is None else torch.full_like(y, orders.target)
    words |= {} if targets is None else {"targets": targets}
    clock = time.perf_counter()
    outcome = attack(model, x, y, threat, seed=orders.seed, ids=torch.from_numpy(rows), **words)
    seconds = time.perf_counter() - clock
    broken = outcome.success.cpu().numpy()
    size = outcome.size.double().cpu().numpy()
    radius, extra = size.copy(), np.zeros(len(rows), np.int64)
    hit = outcome.success.cpu()
    minimal = getattr(attack, "minimum_norm", False) or isinstance(threat, ParametricThreat)
    if broken.any() and orders.queries is None and not minimal:
        aimed = None if targets is None else targets[hit]
        less, questions = shrunk(model, x[hit], y[hit], outcome.adversarial.to(x.device)[hit], threat, targets=aimed)
        radius[broken], extra[broken] = less.cpu().numpy(), questions.cpu().numpy()
    new = [at for at in np.flatnonzero(broken) if rows[at] not in seen]
    kept = [at for place, at in enumerate(new) if len(seen) + place < orders.pictures or int(rows[at]) in orders.probed]
    return Piece(
        rows=rows,
        broken=broken,
        failed=outcome.error.cpu().numpy(),
        size=size,
        radius=radius,
        forwards=outcome.forwards.cpu().numpy(),
        backwards=outcome.backwards.cpu().numpy(),
        found=outcome.queries_to_success.cpu().numpy(),
        extra=extra,
        by=np.array(outcome.found_by, dtype=np.str_),
        seconds=seconds,
        kept=rows[kept],
        images=outcome.adversarial.detach().cpu().float().numpy()[kept],
    )


def _packed(found: Findings) -> bytes:
    """As bytes: the length of a head in JSON, the head, the pieces."""
    parts = [piece.encode() for piece in found.pieces.values()]
    places = [[*place, len(part)] for place, part in zip(found.pieces, parts, strict=True)]
    head = json.dumps({"pieces": places, "whole": sorted(found.whole), "halted": found.halted}).encode()
    return b"".join((len(head).to_bytes(8, "big"), head, *parts))


def _unpacked(data: bytes) -> Findings:
    end = 8 + int.from_bytes(data[:8], "big")
    head = json.loads(data[8:end])
    found = Findings(whole=set(head["whole"]), halted=head["halted"])
    for batch, attack, threat, length in head["pieces"]:
        found.pieces[Place(batch, attack, threat)] = Piece.decode(data[end : end + length])
        end += length
    return found
