"""The bounds of a layer in a net: by the rule of its type, unless something may change its output."""

from dataclasses import replace

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.prune import BasePruningMethod

from quintain.certify.interval.domain import Interval
from quintain.certify.interval.layer_rules import LAYER_RULES, POINTWISE_LAYERS
from quintain.certify.interval.relaxations import RELAXATIONS
from quintain.certify.rounding import RoundingModel
from quintain.core.errors import ModelError

WITHOUT_BOUNDS = "Other nets can be certified by smoothing (--certifier smoothing), and hardened by pgd-at"
"""What can be done with a net that has no bounds."""

HOOK_REMEDIES = {
    "WeightNorm": "keep the weight that it has now: torch.nn.utils.remove_weight_norm(layer)",
    "SpectralNorm": "keep the weight that it has now: torch.nn.utils.remove_spectral_norm(layer)",
}
"""What to do about hooks of torch's own, by their type."""

INPUT_RANKS: dict[type[nn.Module], tuple[int, ...]] = {
    nn.Conv1d: (3,),
    nn.Conv2d: (4,),
    nn.ConvTranspose1d: (3,),
    nn.ConvTranspose2d: (4,),
    nn.ConstantPad1d: (2, 3, 4),
    nn.ConstantPad2d: (3, 4),
    nn.ZeroPad2d: (4,),
    nn.MaxPool2d: (4,),
    nn.AvgPool2d: (4,),
    nn.AdaptiveAvgPool2d: (4,),
    nn.BatchNorm2d: (4,),
    nn.BatchNorm1d: (2, 3),
}
"""Numbers of input dimensions of a layer; with fewer, torch takes examples for channels. Others take two or
more.
"""


def bound_layer(layer: nn.Module, interval: Interval, rounding: RoundingModel, name: str) -> Interval:
    """Compute the interval of a layer's output.

    Raises:
        ModelError: If its type has no rule, something may change what it computes, or it would mix examples.
    """
    kind = type(layer)
    if kind not in LAYER_RULES:
        if is_parametrized(layer):
            raise ModelError(
                f"layer {name!r} is a {kind.__name__}, whose weight is computed anew in each call "
                "(weight_norm, spectral_norm, orthogonal and their like); keep the weight that it has now: "
                "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')"
            )
        raise ModelError(
            f"layer {name!r} is a {kind.__name__}, which has no bound rule; those with one are in "
            "docs/your-own-model.md, and q.certify.register_layer_rule adds one for a layer of your own. "
            f"{WITHOUT_BOUNDS}"
        )
    require_unmodified(layer, name, rounding)
    rank = interval.center.ndim
    if rank not in INPUT_RANKS[kind] if kind in INPUT_RANKS else rank < 2 and kind not in POINTWISE_LAYERS:
        expected = " or ".join(map(str, INPUT_RANKS.get(kind, ("2 or more",))))
        raise ModelError(
            f"layer {name!r} ({kind.__name__}) gets values of {rank} dimensions, the first for examples; "
            f"expected {expected}"
        )
    if kind in RELAXATIONS and interval.recording is not None:
        result = _bound_by_lines(layer, interval, rounding)
    else:
        result = LAYER_RULES[kind](layer, interval, rounding)
        if interval.recording is not None and result.operation is None:
            raise ModelError(
                f"the bound rule of {kind.__name__} (layer {name!r}) makes an interval of its own, which "
                "linear bounds cannot follow; expected one by Interval's methods (linear, "
                "elementwise_affine, add, reshape), or a relaxation beside the rule: "
                "register_layer_rule(kind, relaxation=...)"
            )
    if not result.center.ndim or len(result.center) != len(interval.center):
        raise ModelError(
            f"layer {name!r} turns a batch of {len(interval.center)} into {len(result.center)}; examples "
            "must stay apart"
        )
    if result.operation is not None and result.operation is not interval.operation:
        result.operation.recording.layers[result.operation.index] = layer
    return result


def _bound_by_lines(layer: nn.Module, interval: Interval, rounding: RoundingModel) -> Interval:
    """Bound a nonlinear layer and record its lines, over bounds of its input that are narrowed first."""
    kind = type(layer)
    relaxation, rule = RELAXATIONS[kind], LAYER_RULES[kind]
    # a rule refuses what it does not bound before lines are drawn
    rule(layer, replace(interval, operation=None), rounding)
    lines = relaxation.lines(layer, interval.lower, interval.upper, rounding)
    # of a window any input may be narrowed with gain
    loose = lines.loose if lines.position is None else lines.loose.any().expand_as(interval.center)
    narrowed = interval.refine(loose)
    if narrowed is not interval:
        lines = relaxation.lines(layer, narrowed.lower, narrowed.upper, rounding)
    result = rule(layer, replace(narrowed, operation=None), rounding)
    return result.record_lines(narrowed, lines, relaxation.roundings, rounding)


def require_unmodified(layer: nn.Module, name: str, rounding: RoundingModel) -> None:
    """Refuse a layer whose output something other than its type may change.

    Raises:
        ModelError: If it has a hook, a forward of its own, or tensors that are no plain ones of the model's
            type.
    """
    for hook in (*layer._forward_hooks.values(), *layer._forward_pre_hooks.values()):
        remedy = HOOK_REMEDIES.get(type(hook).__name__, "remove the hook")
        if isinstance(hook, BasePruningMethod):
            remedy = "keep what is left of the weight: torch.nn.utils.prune.remove(layer, 'weight')"
        raise ModelError(
            f"layer {name!r} ({type(layer).__name__}) has a forward hook, which may change its output; "
            f"{remedy}"
        )
    changed = next(
        (key for key, value in vars(layer).items() if callable(value) and hasattr(type(layer), key)), None
    )
    if changed:
        raise ModelError(
            f"layer {name!r} ({type(layer).__name__}) has another {changed} than its type; write it as a "
            "type of its own"
        )
    own = [
        value for value in vars(layer).values() if isinstance(value, Tensor)
    ]  # a weight may be an attribute that is no parameter
    for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False), *own):
        rounding.require_type(tensor, f"layer {name!r} ({type(layer).__name__})")
