"""What a base model must keep, so that its votes are those of one function under Gaussian noise."""

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from quintain.certify.noisy_votes import BATCH_ELEMENTS, noise_type
from quintain.certify.smoothing_noise import fill_normal
from quintain.core.errors import DataError, ModelError, SettingError
from quintain.core.seeds import derive_seed
from quintain.models.classifier import Classifier
from quintain.models.modules import all_modules, any_training
from quintain.models.protocol import ClassifierLike
from quintain.threats.l2 import L2
from quintain.threats.threat import check_types

MIN_SIGMA_SPACINGS = 16
"""The smallest sigma, in spacings near 1 of the inputs' or the model's type."""

BATCH_TOLERANCE = 1e-3
"""Relative difference of outputs, alone and in a batch, that rounding does not explain: at least this, and 8
spacings of the model's type.
"""

BATCH_CHECK_EXAMPLES = 8
"""Most examples whose outputs, alone and in a batch, are compared before anything is certified."""


def require_steady(model: ClassifierLike, x: Tensor, *, sigma: float, seed: int) -> None:
    """Refuse types, layers and models whose predictions are not those under Gaussian noise.

    Args:
        model: The base model.
        x: Inputs (B, *S).
        sigma: Standard deviation of the noise.
        seed: Of the noisy copies that are answered alone and in a batch.

    Raises:
        DataError: If the inputs are of no floating-point type.
        SettingError: If sigma is no wider than the spacing of the inputs' or the model's type.
        ModelError: If the model is in training mode, depends on the batch or is random.
    """
    check_types(L2(0.0), x)
    if not x.is_floating_point():
        raise DataError(f"inputs of {x.dtype}; expected floating point in [0, 1]: divide 8-bit images by 255")
    coarsest = max((x.dtype, model.dtype), key=lambda dtype: torch.finfo(dtype).eps)
    spacing = torch.finfo(coarsest).eps
    if sigma < MIN_SIGMA_SPACINGS * spacing:
        raise SettingError(
            f"sigma = {sigma:g} is lost in {coarsest}, whose numbers near 1 are {spacing:.3g} "
            f"apart; expected at least {MIN_SIGMA_SPACINGS * spacing:.3g}. Use a wider type, such as "
            "float32, for the inputs and the model, or a larger sigma"
        )
    modules = all_modules(model.net) if isinstance(model, Classifier) else []
    for module in modules:
        if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
            raise ModelError(
                f"{model.name} has a {type(module).__name__} that normalizes by the "
                "statistics of each batch, so that noisy copies are not answered one by one; expected "
                "running statistics in evaluation mode: call net.eval()"
            )
    if any_training(modules):
        raise ModelError(
            f"{model.name} is in training mode, or a part of it: dropout then draws from "
            "torch's global generator, and not from the seed and the example, so that it is of no one "
            "function; call net.eval(): the noise is the randomness here"
        )
    _require_batch_independence(model, x[:BATCH_CHECK_EXAMPLES], sigma, seed)


def _require_batch_independence(model: ClassifierLike, x: Tensor, sigma: float, seed: int) -> None:
    """Refuse a model whose outputs change with the rest of the batch.

    It is tested on examples (n, *S), or on a noisy copy of each.

    Raises:
        ModelError: If so: it depends on the batch, or is random.
    """
    if not x.numel() or x.ndim < 2:
        return
    x = x[: max(1, BATCH_ELEMENTS // (2 * x[0].numel()))].to(noise_type(x))
    generator = torch.Generator().manual_seed(derive_seed(seed, "alone"))
    noise = fill_normal(torch.empty(x.shape, dtype=torch.float32), generator).to(x)
    inputs = torch.cat([x, x + sigma * noise])
    together = model(inputs).double()
    alone = torch.cat([model(one).double() for one in inputs.split(1)])
    # No number on both sides tells nothing; on one side alone it is a difference beyond any tolerance.
    tells = alone.isfinite() | together.isfinite()
    gap = torch.where(tells, (alone - together).abs().nan_to_num(torch.inf, torch.inf), 0.0)
    size = alone.nan_to_num(0.0, 0.0, 0.0).abs().amax(1, keepdim=True).clamp(min=1.0)
    tolerance = max(BATCH_TOLERANCE, 8 * torch.finfo(model.dtype).eps)
    if bool((gap > tolerance * size).any()):
        raise ModelError(
            f"{model.name} gives an example other outputs alone than in a batch of "
            f"{len(inputs)} (by up to {float(gap.max()):g}): it answers by its batch or at random, and "
            "noisy copies must be answered one by one, by one function. Look for len(x), x.shape[0], "
            "sums, means and extremes over the batch, and random numbers in its forward"
        )
