"""Finds the layers of a module that cannot be trained privately, and replaces norm layers by private ones."""

import copy
from collections.abc import Callable, Mapping
from math import gcd
from typing import Any, ClassVar

from torch import nn

from quintain.core.errors import PrivacyError
from quintain.core.limits import require_at_least
from quintain.dp.capture.hooks import Capture
from quintain.dp.capture.layer_checks import BATCH_NORMS, INSTANCE_NORMS
from quintain.dp.opacus.refused import missing_name_getattr
from quintain.dp.opacus.validators.errors import (
    IllegalModuleConfigurationError,
    NotYetSupportedModuleError,
    ShouldReplaceModuleError,
    UnsupportableModuleError,
    UnsupportedModuleError,
)
from quintain.dp.rules import Rule

__all__ = ["ModuleValidator"]
__getattr__ = missing_name_getattr(__name__)


DEFAULT_NUM_GROUPS = 32
INSTANCE_NORM_FOR: Mapping[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: nn.InstanceNorm1d,
    nn.BatchNorm2d: nn.InstanceNorm2d,
    nn.BatchNorm3d: nn.InstanceNorm3d,
}
Validator = Callable[..., list[UnsupportedModuleError]]
Fixer = Callable[..., nn.Module]


class ModuleValidator:
    """Names the layers of a module that cannot be trained privately, and replaces those that it can.

    Attributes:
        VALIDATORS: Further checks by type of layer, added by ``register_module_validator``. They can only
            refuse more layers: the built-in checks run as well.
        FIXERS: Replacements by type of layer, added by ``register_module_fixer``.
    """

    VALIDATORS: ClassVar[dict[type[nn.Module], Validator]] = {}
    FIXERS: ClassVar[dict[type[nn.Module], Fixer]] = {}

    @classmethod
    def validate(
        cls, module: nn.Module, *, strict: bool = False, rules: Mapping[type[nn.Module], Rule] | None = None
    ) -> list[UnsupportedModuleError]:
        """The errors of a module: what keeps it from being trained privately.

        Args:
            module: In training mode.
            strict: Whether to raise the errors, if there are any, instead.
            rules: Rules for further kinds of layer.
        """
        errors = list[UnsupportedModuleError]()
        if not module.training:
            errors.append(
                IllegalModuleConfigurationError(
                    "the module is in evaluation mode; expected training mode: module.train()"
                )
            )
        for name, layer in module.named_modules():
            label = f"layer {name or type(layer).__name__!r} is a {type(layer).__name__}"
            if isinstance(layer, BATCH_NORMS):
                if layer.training or layer.running_mean is None:
                    errors.append(
                        ShouldReplaceModuleError(
                            f"{label}, which mixes the examples of a batch; use GroupNorm "
                            "(ModuleValidator.fix)"
                        )
                    )
            elif isinstance(layer, INSTANCE_NORMS) and layer.training and layer.running_mean is not None:
                text = (
                    f"{label} that writes running statistics without noise; expected "
                    "track_running_stats=False (ModuleValidator.fix)"
                )
                errors.append(IllegalModuleConfigurationError(text))
            if (check := cls.VALIDATORS.get(type(layer))) is not None:
                errors.extend(check(layer))
        if not errors:
            errors = _unsupported_layers(module, rules)
        if strict and errors:
            raise errors[0] if len(errors) == 1 else UnsupportedModuleError("; ".join(map(str, errors)))
        return errors

    @classmethod
    def is_valid(cls, module: nn.Module) -> bool:
        """Whether the module has no errors."""
        return not cls.validate(module)

    @classmethod
    def fix(
        cls, module: nn.Module, *, num_groups: int = DEFAULT_NUM_GROUPS, replace_bn_with_in: bool = False
    ) -> nn.Module:
        """A copy in which GroupNorm replaces BatchNorm, and InstanceNorm keeps no running statistics.

        A BatchNorm of C channels becomes a GroupNorm of gcd(``num_groups``, C) groups with the same weights.
        A layer that the module holds under several names stays one layer. The copy needs an optimizer over
        its own parameters.

        Args:
            module: It is not changed.
            num_groups: Most groups of a GroupNorm.
            replace_bn_with_in: Replace BatchNorm by InstanceNorm instead.

        Raises:
            SettingError: If ``num_groups`` is below 1.
            UnsupportableModuleError: If a SyncBatchNorm is to become an InstanceNorm.
        """
        require_at_least(1, num_groups=num_groups)
        fixed = cls._replace(copy.deepcopy(module), num_groups, replace_bn_with_in)
        replacements: dict[nn.Module, nn.Module] = {}
        for parent in list(fixed.modules()):
            # named_children() would leave out the second name of a layer that is used twice
            for name, child in list(parent._modules.items()):
                if child is None:
                    continue
                if child not in replacements:
                    replacements[child] = cls._replace(child, num_groups, replace_bn_with_in)
                if replacements[child] is not child:
                    setattr(parent, name, replacements[child])
        return fixed

    @classmethod
    def _replace(cls, layer: nn.Module, num_groups: int, replace_bn_with_in: bool) -> nn.Module:
        """The replacement of a layer; the layer itself if it stays."""
        if (fixer := cls.FIXERS.get(type(layer))) is not None:
            return fixer(layer, num_groups=num_groups, replace_bn_with_in=replace_bn_with_in)
        return (
            _replacement(layer, num_groups, replace_bn_with_in)
            if isinstance(layer, BATCH_NORMS + INSTANCE_NORMS)
            else layer
        )

    @classmethod
    def fix_and_validate(cls, module: nn.Module, **settings: Any) -> nn.Module:
        """The copy that ``fix`` makes with these settings.

        Raises:
            UnsupportedModuleError: If it still has errors.
        """
        fixed = cls.fix(module, **settings)
        cls.validate(fixed, strict=True)
        return fixed


def _unsupported_layers(
    module: nn.Module, rules: Mapping[type[nn.Module], Rule] | None
) -> list[UnsupportedModuleError]:
    """The error with which a capture would refuse the module, if any."""
    try:
        Capture(module, rules=rules).remove()
    except PrivacyError as error:
        return [NotYetSupportedModuleError(str(error))]
    return []


def _replacement(layer: nn.Module, num_groups: int, instance: bool) -> nn.Module:
    """The replacement of a norm layer, with the same device, dtype, mode and weights."""
    if isinstance(layer, INSTANCE_NORMS):
        layer.track_running_stats = False
        layer.running_mean = layer.running_var = layer.num_batches_tracked = None
        return layer
    assert isinstance(layer, BATCH_NORMS)
    channels, affine = layer.num_features, layer.affine
    if instance:
        kind = next((norm for batch, norm in INSTANCE_NORM_FOR.items() if isinstance(layer, batch)), None)
        if kind is None:
            raise UnsupportableModuleError(
                f"got a {type(layer).__name__} to replace by InstanceNorm; expected a BatchNorm1d, 2d or 3d"
            )
        replacement: nn.Module = kind(channels, eps=layer.eps, affine=affine)
    else:
        replacement = nn.GroupNorm(gcd(num_groups, channels), channels, eps=layer.eps, affine=affine)
    if affine:
        replacement.weight, replacement.bias = layer.weight, layer.bias
    return replacement.train(layer.training)
