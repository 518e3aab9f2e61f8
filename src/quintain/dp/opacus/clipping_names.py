"""Clipping methods by the names that ``make_private`` takes."""

from collections.abc import Mapping, Sequence
from typing import cast

from quintain.core.errors import SettingError
from quintain.dp.step.adaptive import AdaptiveClipping
from quintain.dp.step.clipping import (
    AutomaticClipping,
    ClippingMethod,
    FlatClipping,
    PerLayerClipping,
    is_number,
)

OPACUS_ADAPTIVE_SETTINGS = {
    "target_unclipped_quantile": "target_quantile",
    "clipbound_learning_rate": "learning_rate",
    "min_clipbound": "min_bound",
    "max_clipbound": "max_bound",
    "unclipped_num_std": "unclipped_count_std",
}
"""Settings of adaptive clipping, and what ``AdaptiveClipping`` calls them."""


def clipping_from_name(
    clipping: str,
    max_grad_norm: float | Sequence[float] | ClippingMethod,
    num_parameters: int,
    expected_batch_size: int,
    adaptive: Mapping[str, float],
) -> ClippingMethod:
    """The clipping method of a name and its settings."""
    if clipping not in ("flat", "per_layer", "adaptive", "automatic"):
        raise SettingError(f"got clipping = {clipping!r}; expected flat, per_layer, adaptive or automatic")
    if adaptive and (clipping != "adaptive" or set(adaptive) - set(OPACUS_ADAPTIVE_SETTINGS)):
        hints = "".join(
            f"; {ours} of AdaptiveClipping is called {name} here"
            for name, ours in OPACUS_ADAPTIVE_SETTINGS.items()
            if ours in adaptive
        )
        raise SettingError(
            f"got {', '.join(sorted(adaptive))}; expected {', '.join(OPACUS_ADAPTIVE_SETTINGS)}, and these "
            f"for clipping='adaptive' alone{hints}"
        )
    if clipping == "per_layer":
        if is_number(max_grad_norm):
            return PerLayerClipping((float(max_grad_norm) / num_parameters**0.5,) * num_parameters)
        if not isinstance(max_grad_norm, Sequence) or len(max_grad_norm) != num_parameters:
            raise SettingError(
                f"got max_grad_norm = {max_grad_norm}; expected one bound for each of {num_parameters} "
                "parameters, or a number"
            )
        return PerLayerClipping(tuple(map(float, max_grad_norm)))
    if not is_number(max_grad_norm):
        if isinstance(max_grad_norm, Sequence) or clipping != "flat":
            raise SettingError(
                f"got max_grad_norm = {max_grad_norm} with clipping = {clipping!r}; expected a number"
            )
        return cast(ClippingMethod, max_grad_norm)
    max_grad_norm = float(max_grad_norm)
    if clipping == "automatic":
        return AutomaticClipping(max_grad_norm)
    if clipping == "flat":
        return FlatClipping(max_grad_norm)
    return AdaptiveClipping(
        max_grad_norm,
        **{
            "unclipped_count_std": expected_batch_size / 20,
            **{OPACUS_ADAPTIVE_SETTINGS[name]: value for name, value in adaptive.items()},
        },
    )
