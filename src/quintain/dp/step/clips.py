"""Ways to clip by the names that ``make_private`` takes."""

from collections.abc import Mapping, Sequence
from typing import cast

from quintain.core.errors import SettingError
from quintain.dp.step.adaptive import Adaptive
from quintain.dp.step.clipping import Automatic, Clip, Flat, PerLayer, is_number

ADAPTIVE = {
    "target_unclipped_quantile": "quantile",
    "clipbound_learning_rate": "rate",
    "min_clipbound": "lowest",
    "max_clipbound": "highest",
    "unclipped_num_std": "count_std",
}
"""Settings of adaptive clipping, and what ``Adaptive`` calls them."""


def clip_named(
    clipping: str, max_grad_norm: float | Sequence[float] | Clip, parameters: int, expected: int, adaptive: Mapping[str, float]
) -> Clip:
    """The way to clip that a name and its settings stand for."""
    if clipping not in ("flat", "per_layer", "adaptive", "automatic"):
        raise SettingError(f"got clipping = {clipping!r}; expected flat, per_layer, adaptive or automatic")
    if adaptive and (clipping != "adaptive" or set(adaptive) - set(ADAPTIVE)):
        hints = "".join(f"; {ours} of Adaptive is called {name} here" for name, ours in ADAPTIVE.items() if ours in adaptive)
        raise SettingError(
            f"got {', '.join(sorted(adaptive))}; expected {', '.join(ADAPTIVE)}, and these for clipping='adaptive' alone{hints}"
        )
    if clipping == "per_layer":
        if is_number(max_grad_norm):
            return PerLayer((float(max_grad_norm) / parameters**0.5,) * parameters)
        if not isinstance(max_grad_norm, Sequence) or len(max_grad_norm) != parameters:
            raise SettingError(f"got max_grad_norm = {max_grad_norm}; expected one bound for each of {parameters} parameters, or a number")
        return PerLayer(tuple(map(float, max_grad_norm)))
    if not is_number(max_grad_norm):
        if isinstance(max_grad_norm, Sequence) or clipping != "flat":
            raise SettingError(f"got max_grad_norm = {max_grad_norm} with clipping = {clipping!r}; expected a number")
        return cast(Clip, max_grad_norm)
    max_grad_norm = float(max_grad_norm)
    if clipping == "automatic":
        return Automatic(max_grad_norm)
    if clipping == "flat":
        return Flat(max_grad_norm)
    return Adaptive(max_grad_norm, **{"count_std": expected / 20, **{ADAPTIVE[name]: value for name, value in adaptive.items()}})
