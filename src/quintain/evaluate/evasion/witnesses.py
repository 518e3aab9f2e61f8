"""Breaks that the diagnostics find where the attacks found none: witnesses like those of an attack."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from quintain.attacks.goal import Goal
from quintain.attacks.outcome import Model
from quintain.evaluate.evasion.checkpoint import Chunk
from quintain.evaluate.evasion.merge import MergedAttacks
from quintain.evaluate.images import AdversarialExample
from quintain.results.literals import DIAGNOSTICS
from quintain.threats.parametric import ParametricThreat, is_allowed, to_image
from quintain.threats.threat import Threat


@dataclass(frozen=True, slots=True, eq=False)
class Witness:
    """A point of the threat that the model misclassifies.

    Args:
        row: The example's row in the data.
        probe: What found it.
        size: Size of the change, in float64.
        image: The changed input (*S).
        params: For a parametric threat its parameters (P,); else (0,).
    """

    row: int
    probe: str
    size: float
    image: Tensor
    params: Tensor


@torch.no_grad()
def confirmed_witnesses(
    probe: str, model: Model, threat: Threat, x: Tensor, y: Tensor, ids: Tensor, z: Tensor
) -> list[Witness]:
    """Return those of some breaks that are breaks once more, as they are stored, and inside the threat.

    Args:
        probe: What found them.
        model: The model that misclassified them once; it is queried once more about each.
        threat: The threat, checked in float64 and without tolerance.
        x, y, ids: The examples (n, *S), (n,), and their rows in the data (n,).
        z: The points (n, *S), or for a parametric threat the parameters (n, P).
    """
    if not len(x):
        return []
    z = z.float().to(x.device)
    image = to_image(threat, z, x)
    hit = Goal(y).is_adversarial(model(image), torch.arange(len(x), device=x.device))
    hit &= is_allowed(threat, z, x)
    size = threat.measure(z, x).double()
    params = z if isinstance(threat, ParametricThreat) else z.new_zeros(len(z), 0)
    return [
        Witness(int(ids[at]), probe, float(size[at]), image[at].float().cpu(), params[at].cpu())
        for at in hit.nonzero().squeeze(1).tolist()
    ]


def smallest_witnesses(found: Iterable[Witness]) -> tuple[Witness, ...]:
    """Return the witness of the smallest change for each row, in the order of the rows."""
    best = dict[int, Witness]()
    for one in found:
        if one.row not in best or one.size < best[one.row].size:
            best[one.row] = one
    return tuple(best[row] for row in sorted(best))


def add_witnesses(merged: MergedAttacks, found: Iterable[Witness]) -> None:
    """Count as broken what only the diagnostics broke; what each attack did stays as it is."""
    for one in found:
        if np.isfinite(merged.radius[one.row]) or merged.invalid[one.row]:
            continue
        merged.radius[one.row] = one.size
        merged.found_by[one.row] = f"{DIAGNOSTICS}: {one.probe}"
        merged.images.setdefault(one.row, AdversarialExample(one.row, one.image, one.size))


def witness_chunk(found: tuple[Witness, ...]) -> Chunk:
    """Return witnesses, at least one, as a chunk that can be stored; its queries are no attack's."""
    rows, size = np.array([one.row for one in found]), np.array([one.size for one in found])
    none = np.zeros(len(found), np.int64)
    return Chunk(
        rows=rows,
        broken=np.ones(len(found), bool),
        invalid=np.zeros(len(found), bool),
        size=size,
        radius=size,
        forwards=none,
        backwards=none,
        queries_to_success=none,
        bisection_queries=none,
        smallest_sizes=np.full((len(found), 2), np.inf),
        found_by=np.array([one.probe for one in found], dtype=np.str_),
        seconds=0.0,
        kept=rows,
        images=torch.stack([one.image for one in found]).numpy(),
        params=torch.stack([one.params for one in found]).numpy(),
    )
