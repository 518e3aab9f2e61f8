"""A leakage attack on updates as a function of one update."""

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature

import torch
from torch import Tensor, nn

from quintain.core.progress import Progress
from quintain.leakage import Candidates, Knowledge, LeakageAttack, ReconstructionAttack, UpdateView
from quintain.leakage.protocols import ReconstructedExample
from quintain.models.loop_checkpoints import Checkpoints, no_checkpoints, with_checkpoints


@dataclass(frozen=True, slots=True)
class _ReconstructedImage:
    image: Tensor


def as_reconstruction(attack: ReconstructionAttack | type[LeakageAttack]) -> ReconstructionAttack:
    """Return an attack on one update as a function, also where the class of a leakage attack was given."""
    if not isinstance(attack, type):
        return attack
    made, accepted = attack, signature(attack).parameters

    def reconstruct(
        net: nn.Module,
        gradient: Tensor,
        shape: Sequence[int],
        *,
        steps: int,
        tv_weight: float,
        seed: int,
        progress: Progress,
        checkpoints: Checkpoints = no_checkpoints,
    ) -> ReconstructedExample:
        offered = {"steps": steps, "tv_weight": tv_weight, "tv_weights": (tv_weight,)}
        one = made(**{name: value for name, value in offered.items() if name in accepted})
        found = with_checkpoints(one.guess, checkpoints)(
            UpdateView(net, lambda _: gradient),
            Knowledge(),
            Candidates(torch.tensor([-1]), torch.zeros(1, dtype=torch.int64), tuple(shape)),
            budget=1,
            seed=seed,
            progress=progress,
        )
        # Of several guesses at one picture the first counts; of none, gray does.
        gray = torch.full((1, *shape), 0.5)
        return _ReconstructedImage((gray if found.images is None else torch.cat((found.images, gray)))[0])

    # What is kept of it goes by its name; wraps() would hide that it takes checkpoints.
    reconstruct.__module__, reconstruct.__qualname__ = made.__module__, made.__qualname__
    return reconstruct
