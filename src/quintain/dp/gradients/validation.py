"""Refusals of layers that cannot be trained privately, with what to use instead."""

from collections.abc import Mapping, Sequence

from torch import nn

from quintain.core.errors import PrivacyError

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)

INSTEAD: Mapping[type[nn.Module], str] = {
    **dict.fromkeys(BATCH_NORMS, "BatchNorm mixes the examples of a batch: use GroupNorm (or freeze it and keep it in evaluation mode)"),
}


def mixing(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The batch and instance norms of a module, by name: they may mix examples or write statistics."""
    return [(name, child) for name, child in module.named_modules() if isinstance(child, BATCH_NORMS + INSTANCE_NORMS)]


def refuse_mixing(layers: Sequence[tuple[str, nn.Module]]) -> None:
    """Refuse layers that use batch statistics, or write running ones without noise, with weights or without.

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


def refuse_compiled(module: nn.Module) -> None:
    """Refuse modules whose forward runs as compiled code, where hooks catch no per-example gradients.

    Raises:
        PrivacyError: If one is inside.
    """
    for name, child in module.named_modules():
        if hasattr(child, "_orig_mod") or getattr(child, "_compiled_call_impl", None) is not None:
            raise PrivacyError(
                f"got a compiled module{f' ({name!r})' if name else ''}; expected the one that was given to "
                "torch.compile, not compiled: gradients of single examples are caught as layers are called"
            )


def refuse_table(table: nn.Module) -> None:
    """Refuse an embedding whose weights or gradients depend on all ids of the batch.

    Raises:
        PrivacyError: If ``table`` is one.
    """
    if isinstance(table, (nn.Embedding, nn.EmbeddingBag)) and (table.max_norm is not None or table.scale_grad_by_freq or table.sparse):
        raise PrivacyError(
            f"got an {type(table).__name__} with max_norm, scale_grad_by_freq or sparse, which mix examples; expected it without these"
        )


def refuse_without_rule(label: str, layer: nn.Module) -> None:
    """Refuse a trainable layer that cannot even be run example by example.

    Raises:
        PrivacyError: If ``layer`` is one.
    """
    for kind, instead in INSTEAD.items():
        if isinstance(layer, kind):
            raise PrivacyError(f"layer {label!r} is a {type(layer).__name__}, whose per-example gradients do not exist; {instead}")
    if any(nn.parameter.is_lazy(parameter) for parameter in layer.parameters(recurse=False)):
        raise PrivacyError(f"layer {label!r} is a {type(layer).__name__} that has no shape yet; expected one forward pass before")
