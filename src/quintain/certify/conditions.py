"""Checks of a model and of torch's settings, without which its rounding errors cannot be bounded."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules import module as torch_module

from quintain.certify.attributes import AttributeSnapshot
from quintain.core.errors import ModelError
from quintain.models.classifier import Classifier
from quintain.models.modules import all_modules, any_training, fill_cached_properties, first_floating_tensor
from quintain.models.precision import Operation, require_full_precision
from quintain.models.protocol import ClassifierLike

WHY = "interval bounds hold for sums and products that each round to the model's type"
CONVOLUTIONS = (nn.modules.conv._ConvNd,)


def require_bounded_rounding(
    net: nn.Module, device: torch.device, dtype: torch.dtype, *, has_convolutions: bool = False
) -> None:
    """Refuse what makes operations round more than their type does, or compute other than their layers say.

    Args:
        net: The net.
        device: Where it runs; nothing of that device is used, so that the conditions for a GPU can be read on
            a machine without one.
        dtype: What it runs in.
        has_convolutions: Whether its forward calls convolutions as functions.

    Raises:
        ModelError: For autocast, settings that lower float32 precision, libraries whose convolutions may be
            Winograd's or FFTs, forward hooks of all modules, compiled modules, and devices other than the CPU
            and CUDA; with what to do.
    """
    if device.type not in {"cpu", "cuda"}:
        raise ModelError(
            f"the model runs on {device.type!r}, of whose rounding nothing is known; {WHY}. Move it to the "
            "CPU: net.cpu()"
        )
    if torch.is_autocast_enabled(device.type):
        raise ModelError(
            f"autocast is on for {device.type}, so that layers run in fewer bits; {WHY}. Leave "
            "torch.autocast out"
        )
    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        raise ModelError(
            "a forward hook of all modules is registered, which may change what any layer returns; remove it"
        )
    modules = all_modules(net)
    # by module.compile(), or wrapped by torch.compile(module)
    if any(module._compiled_call_impl is not None or "_orig_mod" in module._modules for module in modules):
        raise ModelError(
            "the net is compiled, which may fuse and reorder its operations; certify the net as it was "
            "before it was compiled"
        )
    if dtype == torch.float32:
        convolves = has_convolutions or any(isinstance(module, CONVOLUTIONS) for module in modules)
        _require_plain_products(device, convolves=convolves)


def _require_plain_products(device: torch.device, *, convolves: bool) -> None:
    """Refuse libraries and settings under which a float32 product is not one."""
    operations: tuple[Operation, ...] = ("matmul",)
    if convolves and device.type == "cuda":
        if torch.backends.cudnn.enabled:
            raise ModelError(
                f"cuDNN may compute convolutions in TF32, by Winograd's method or by FFT; {WHY}. "
                "Set torch.backends.cudnn.enabled = False, or move the model to the CPU"
            )
    elif convolves:
        operations = ("matmul", "conv")
        if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled) and _nnpack():
            raise ModelError(
                f"without oneDNN, NNPACK computes convolutions by Winograd's method or by FFT; {WHY}. "
                "Set torch.backends.mkldnn.enabled = True, or switch NNPACK off: "
                "torch.backends.nnpack.set_flags(False)"
            )
    require_full_precision(device, operations, why=WHY)


def _nnpack() -> bool:
    return bool(torch.backends.nnpack.is_available() and torch._C._get_nnpack_enabled())


def require_readable(net: nn.Module) -> None:
    """Refuse compiled programs, training mode, and tensors without readable values.

    Readable are those in memory, not made in inference mode, in a layout without sums of a form of its own.

    Raises:
        ModelError: For a net of which a part is scripted or traced, or in training mode, even one that may be
            called so; with the name of such a tensor.
    """
    for module in all_modules(net):
        if isinstance(module, torch.jit.ScriptModule):
            raise ModelError(
                f"the net, or a part of it, is a {type(module).__name__}, scripted or traced by torch.jit, "
                "whose layers are not read; expected the torch.nn.Module that it was made from: build that "
                "and load the weights, net.load_state_dict(scripted.state_dict()); or certify the smoothed "
                "model, which is only asked for answers (--certifier smoothing)"
            )
    if any_training(all_modules(net)):
        raise ModelError(
            "the net, or a part of it, is in training mode; interval bounds are of the net in evaluation "
            "mode: call net.eval()"
        )
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        if tensor.is_inference():
            raise ModelError(
                f"{name} was made inside torch.inference_mode(), where torch records nothing of it; interval "
                "bounds also look at a run with gradients. Build and load the net outside, or copy it there: "
                "copy.deepcopy(net)"
            )
        if tensor.layout != torch.strided or tensor.is_meta:
            kind = "on the meta device, without values" if tensor.is_meta else f"of layout {tensor.layout}"
            raise ModelError(
                f"{name} is {kind}; interval bounds know plain (strided) tensors. Load its values, or "
                "convert it: .to_dense()"
            )


def require_own_type(net: nn.Module) -> None:
    """Refuse a net whose type is not fixed by a tensor of its own.

    Raises:
        ModelError: If it has no floating-point parameter or buffer.
    """
    if first_floating_tensor(all_modules(net)) is None:
        raise ModelError(
            "the net has no floating-point parameter or buffer, so that it computes in the type of whatever "
            "it is given; expected a buffer at least, such as a scale of ones"
        )


def require_unchanged(
    model: ClassifierLike, before: str, attributes: AttributeSnapshot | None = None
) -> None:
    """Refuse a model whose weights or program differ from those that were read.

    What was found would be of no one model.

    Args:
        model: The model.
        before: Its hash when it was read.
        attributes: Its net's attributes before it ran, to name those that its forward sets.

    Raises:
        ModelError: If its hash is another one now.
    """
    if model.hash != before:
        changed = ", ".join(attributes.changed_names()) if attributes else ""
        what = f"its forward sets {changed}" if changed else "its weights or buffers are others than before"
        raise ModelError(
            f"{model.name} changes while it is certified: {what}. Expected a forward that leaves the model "
            "as it is, since the next call might read what this one kept; look for layers in training mode, "
            "for buffers that count or average, and for values kept in attributes: return them beside the "
            "logits instead, in a dict {'logits': ...}"
        )


@contextmanager
def refuse_changes(model: ClassifierLike) -> Iterator[None]:
    """Refuse a model whose weights or program differ after the block from before.

    Raises:
        ModelError: If its hash differs.
    """
    if isinstance(model, Classifier):
        fill_cached_properties(model.net)  # values of the net itself, and no change by what it is given
    before = model.hash
    attributes = AttributeSnapshot(model.net) if isinstance(model, Classifier) else None
    yield
    require_unchanged(model, before, attributes)
