"""Checks that refuse layers which cannot be trained privately, and say what to use instead."""

from collections.abc import Mapping, Sequence

from torch import nn

from quintain.core.errors import PrivacyError

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)

REPLACEMENT_HINTS: Mapping[type[nn.Module], str] = {
    **dict.fromkeys(
        BATCH_NORMS,
        "BatchNorm mixes the examples of a batch: use GroupNorm (or freeze it and keep it in evaluation "
        "mode)",
    ),
}


def norm_layers(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the batch and instance norms of a module, with their names.

    They may mix examples or write statistics.
    """
    return [
        (name, child)
        for name, child in module.named_modules()
        if isinstance(child, BATCH_NORMS + INSTANCE_NORMS)
    ]


def check_no_mixing(layers: Sequence[tuple[str, nn.Module]]) -> None:
    """Raise if a layer uses statistics of the batch, or writes running statistics without noise.

    Raises:
        PrivacyError: If a layer, in its present mode, uses either.
    """
    for name, layer in layers:
        statistics = getattr(layer, "running_mean", None) is not None
        batch_norm = isinstance(layer, BATCH_NORMS)
        if (layer.training and (batch_norm or statistics)) or (batch_norm and not statistics):
            does = (
                "mixes the examples of a batch" if batch_norm else "writes running statistics without noise"
            )
            raise PrivacyError(
                f"layer {name or type(layer).__name__!r} is a {type(layer).__name__} that {does}; "
                "use GroupNorm, or freeze it (requires_grad=False) "
                "and keep it in evaluation mode, also after module.train()"
            )


def check_not_compiled(module: nn.Module) -> None:
    """Raise if a module runs as compiled code, where hooks capture no per-example gradients.

    Raises:
        PrivacyError: If one is inside.
    """
    for name, child in module.named_modules():
        if hasattr(child, "_orig_mod") or getattr(child, "_compiled_call_impl", None) is not None:
            raise PrivacyError(
                f"got a compiled module{f' ({name!r})' if name else ''}; expected the one that was given to "
                "torch.compile, not compiled: gradients of single examples are caught as layers are called"
            )


def check_can_run_by_vmap(label: str, layer: nn.Module) -> None:
    """Raise if a trainable layer without a rule cannot be run example by example either.

    Raises:
        PrivacyError: If ``layer`` is one.
    """
    for kind, instead in REPLACEMENT_HINTS.items():
        if isinstance(layer, kind):
            raise PrivacyError(
                f"layer {label!r} is a {type(layer).__name__}, whose per-example gradients do not exist; "
                f"{instead}"
            )
    if any(nn.parameter.is_lazy(parameter) for parameter in layer.parameters(recurse=False)):
        raise PrivacyError(
            f"layer {label!r} is a {type(layer).__name__} that has no shape yet; expected one forward pass "
            "before"
        )
