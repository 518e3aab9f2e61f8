"""What processes that train together must have in common: else a record is bounded by one number and hidden by another."""

from typing import TYPE_CHECKING

from quintain.dp.accounting.release import Release
from quintain.dp.draws.sampling import SamplingLoader

if TYPE_CHECKING:
    from quintain.dp.step.optimizer import DPOptimizer

HINT = ": schedules step, settings change and states are loaded in each process, never in the first alone"


def at_a_step(optimizer: "DPOptimizer", release: Release) -> dict[str, object]:
    """What the next step is, before noise is added to the sum of all."""
    return {
        "batches": optimizer.loader.draws,
        "steps": optimizer.steps,
        "noise_multiplier": optimizer.noise_multiplier,
        "max_grad_norm": optimizer.max_grad_norm,
        "stop_at_epsilon": optimizer.limit,
        "steps spent": optimizer.ledger.steps,
        "release": release,
    }


def at_the_start(optimizer: "DPOptimizer") -> dict[str, object]:
    """All settings that bound, noise and account rest on."""
    loader = optimizer.loader
    drawn = (loader.copies, loader.stream.name.hex()) if isinstance(loader, SamplingLoader) else ()
    return at_a_step(optimizer, optimizer.release) | {
        "way to clip": optimizer.clip,
        "loss_reduction": optimizer.loss_reduction,
        "secure_mode": optimizer.secure_mode,
        "batch_first": optimizer.capture.batch_first,
        "copies and draws": drawn,
        "noise of a kept key": optimizer._kept_key,
        "trainable parameters": [(name, tuple(p.shape), str(p.dtype)) for name, p in optimizer.parameters.items()],
    }
