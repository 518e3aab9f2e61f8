"""Which layers cannot be trained privately, and what to use instead."""

from collections.abc import Collection, Mapping, Sequence

from torch import nn

from quintain.core.errors import PrivacyError

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)

INSTEAD: Mapping[type[nn.Module], str] = {
    **dict.fromkeys(BATCH_NORMS, "BatchNorm mixes the examples of a batch: use GroupNorm (or freeze it and keep it in evaluation mode)"),
    **dict.fromkeys(INSTANCE_NORMS, "use GroupNorm with as many groups as channels"),
    nn.MultiheadAttention: "build it of Linear layers, or freeze it",
    **dict.fromkeys((nn.LSTM, nn.GRU, nn.RNN), "freeze it, or use Linear layers"),
}


def mixing(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Layers that may mix examples or write statistics, by name."""
    return [(name, child) for name, child in module.named_modules() if isinstance(child, BATCH_NORMS + INSTANCE_NORMS)]


def refuse_mixing(layers: Sequence[tuple[str, nn.Module]]) -> None:
    """Batch statistics, or running ones that are written without noise, whether or not the layer has weights.

    Raises:
        PrivacyError: If a layer, in its present mode, uses either.
    """
    for name, layer in layers:
        statistics = getattr(layer, "running_mean", None) is not None
        batch_norm = isinstance(layer, BATCH_NORMS)
        if (layer.training and (batch_norm or statistics)) or (batch_norm and not statistics):
            raise PrivacyError(
                f"layer {name or type(layer).__name__!r} is a {type(layer).__name__} that "
                f"{'mixes the examples of a batch' if batch_norm else 'writes running statistics without noise'}; use GroupNorm, "
                "or freeze it (requires_grad=False) and keep it in evaluation mode, also after module.train()"
            )


def without_rule(label: str, layer: nn.Module, known: Collection[type[nn.Module]]) -> PrivacyError:
    """What to say of a trainable layer that has no rule."""
    others = f"use {', '.join(kind.__name__ for kind in known)}, freeze it, or give the engine a rule for it"
    instead = next((text for kind, text in INSTEAD.items() if isinstance(layer, kind)), others)
    return PrivacyError(f"layer {label!r} is a {type(layer).__name__}, whose per-example gradients are not known; {instead}")
