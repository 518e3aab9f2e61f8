"""Reconstructions that an interrupted run need not repeat."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from quintain.core.progress import Progress
from quintain.data.dataset import Dataset
from quintain.evaluate.leaks.sent_updates import PRIVATE_UPDATE
from quintain.leakage import ReconstructionAttack
from quintain.models.devices import device_of
from quintain.models.fingerprint import fingerprint
from quintain.models.loop_checkpoints import Checkpoints, with_checkpoints
from quintain.version import __version__

IMAGE = "image"
"""Name of a finished one."""


def reconstruct_or_load(
    attack: ReconstructionAttack,
    net: nn.Module,
    update: Tensor,
    shape: tuple[int, ...],
    *,
    steps: int,
    tv_weight: float,
    seed: int,
    checkpoints: Checkpoints,
    progress: Progress,
) -> Tensor:
    """Reconstruct the image behind an update or load it; an attack that takes checkpoints resumes inside."""
    kept = checkpoints.loop(IMAGE)
    if not kept.step:
        found = with_checkpoints(attack, checkpoints)(
            net, update, shape, steps=steps, tv_weight=tv_weight, seed=seed, progress=progress
        )
        kept.save(1, {IMAGE: found.image})
        return found.image.cpu()
    return kept.state[IMAGE]


def reconstruction_settings(
    net: nn.Module, data: Dataset, attack: ReconstructionAttack, steps: int, seed: int
) -> dict[str, object]:
    """What all reconstructions depend on."""
    name = getattr(attack, "__qualname__", type(attack).__qualname__)
    return {
        "quintain": __version__,
        "torch": torch.__version__,
        "device": str(device_of(net)),
        "model": fingerprint(net),
        "data": data.hash,
        "attack": f"{attack.__module__}.{name}",
        "steps": steps,
        "seed": seed,
    }


@contextmanager
def interruption_of_reconstructions(kept: Checkpoints) -> Iterator[None]:
    """Say in an interruption how much is kept."""
    try:
        yield
    except KeyboardInterrupt:
        done = [name.removesuffix(IMAGE) for name in kept.kept_steps if name.endswith(f"-{IMAGE}")]
        steps = sum(
            steps
            for name, steps in kept.kept_steps.items()
            if name != PRIVATE_UPDATE and not name.startswith(tuple(done))
        )
        words = (
            f"{len(done)} reconstruction{'s' * (len(done) != 1)}" if done else "",
            f"{steps:,} steps of {'the next' if done else 'the first'} one" if steps else "",
        )
        raise KeyboardInterrupt(" and ".join(filter(None, words))) from None
