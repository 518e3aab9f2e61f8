"""The settings that all processes of a run must have in common."""

from typing import TYPE_CHECKING

from quintain.dp.accounting.release import Release
from quintain.dp.sampling.loader import SamplingLoader

if TYPE_CHECKING:
    from quintain.dp.step.optimizer import DPOptimizer

HINT = ": schedules step, settings change and states are loaded in each process, never in the first alone"


def settings_at_step(optimizer: "DPOptimizer", release: Release) -> dict[str, object]:
    """The settings of the next step, which are compared before its noise is added."""
    return {
        "batches": optimizer.loader.batches_drawn,
        "steps": optimizer.steps,
        "noise_multiplier": optimizer.noise_multiplier,
        "max_grad_norm": optimizer.max_grad_norm,
        "stop_at_epsilon": optimizer.active_budget,
        "steps spent": optimizer.ledger.steps,
        "release": release,
    }


def settings_at_start(optimizer: "DPOptimizer") -> dict[str, object]:
    """All settings that clipping, noise and accounting depend on."""
    loader = optimizer.loader
    drawn = (loader.augmentations_per_record, loader.stream.key_id.hex()) if isinstance(loader, SamplingLoader) else ()
    return settings_at_step(optimizer, optimizer.next_release) | {
        "way to clip": optimizer.clip,
        "loss_reduction": optimizer.loss_reduction,
        "secure_mode": optimizer.secure_mode,
        "batch_first": optimizer.capture.batch_first,
        "copies and draws": drawn,
        "noise of a kept key": optimizer._key_is_kept,
        "trainable parameters": [(name, tuple(p.shape), str(p.dtype)) for name, p in optimizer.params_by_name.items()],
    }
