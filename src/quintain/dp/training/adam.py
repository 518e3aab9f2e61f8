"""Adam for private training, with the noise subtracted from the second moment."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from quintain.core.errors import SettingError


class DPAdam(torch.optim.Optimizer):
    r"""Adam whose second moment is that of the clipped gradient without its noise.

    .. math:: \theta \leftarrow \theta - \eta\, \hat m \,/\, \sqrt{\max(\hat v - s^2, \gamma)},
        \qquad s = \sigma C / b

    With :math:`\tilde g = g + \mathcal N(0, s^2)` the second moment is :math:`E \tilde g^2 = E g^2 + s^2`:
    private noise is larger than the gradient, all coordinates get the same divisor, and plain Adam is
    gradient descent with another learning rate. Subtracting the known :math:`s^2` restores its scaling by
    coordinate.

    Args:
        params: As for any optimizer of torch.
        lr: Learning rate, eta.
        betas: Decays of the first and second moment.
        second_moment_floor: gamma, the least second moment that is divided by; of the size of squared mean
            gradients.
        noise_std: s, the standard deviation of the noise in each coordinate of the mean gradient. A private
            optimizer sets it at every step; set it where the noise is added by something else, 0 for none.

    Guarantee: a function of noisy gradients and public constants, so that it costs no privacy.

    Raises:
        SettingError: If a number is out of its range; at the first step, if noise_std is not set.

    Source: Tang, Lecuyer, 2023, arXiv:2312.14334; Kingma & Ba, 2015, arXiv:1412.6980.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        second_moment_floor: float = 1e-8,
        noise_std: float | None = None,
    ) -> None:
        ranges = {
            "lr": (lr, 0 < lr < math.inf, "a positive number"),
            "betas": (betas, all(0 <= beta < 1 for beta in betas), "two numbers in [0, 1)"),
            "second_moment_floor": (
                second_moment_floor,
                0 < second_moment_floor < math.inf,
                "a positive number, such as 1e-8",
            ),
            "noise_std": (
                noise_std,
                noise_std is None or 0 <= noise_std < math.inf,
                "a finite number, 0 or more",
            ),
        }
        for name, (got, good, expected) in ranges.items():
            if not good:
                raise SettingError(f"got {name} = {got}; expected {expected}")
        super().__init__(
            params,
            {"lr": lr, "betas": betas, "second_moment_floor": second_moment_floor, "noise_std": noise_std},
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step on the noisy gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["noise_std"] is None:
                raise SettingError(
                    "DPAdam does not know the noise in its gradients; expected a private optimizer around it "
                    "(PrivacyEngine.make_private), or noise_std = noise multiplier x clipping norm / "
                    "expected batch size"
                )
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state |= {"step": 0, "first": torch.zeros_like(parameter), "second": torch.zeros_like(parameter)}
        state["step"] += 1
        # bias-corrected moments; the noise variance is subtracted from the second
        slow, slower = group["betas"]
        first = state["first"].lerp_(gradient, 1 - slow) / (1 - slow ** state["step"])
        second = state["second"].lerp_(gradient.square(), 1 - slower) / (1 - slower ** state["step"])
        parameter.addcdiv_(
            first,
            (second - group["noise_std"] ** 2).clamp(min=group["second_moment_floor"]).sqrt(),
            value=-group["lr"],
        )
