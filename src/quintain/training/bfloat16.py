"""Losses whose products are computed in bfloat16, on devices that do it fast."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quintain.core.errors import SettingError
from quintain.training.objective import Objective, StepContext


@dataclass(frozen=True, slots=True)
class Bfloat16Loss:
    """Another loss, whose matrix products and convolutions are computed in bfloat16 (``torch.autocast``).

    Weights, their gradients, the optimizer and what looks at the net on the way stay in float32, and so do
    bounds of certified training. A run goes on from its checkpoint bit for bit, as without; a checkpoint of
    a run in float32 is refused. It is for training that is not private: ``dp`` sees to its own precision.

    Args:
        objective: The loss of a step, such as ``CleanCrossEntropy()`` or ``PGDTraining(...).objective()``.

    Raises:
        SettingError: When called on a device that does not compute in bfloat16.
    """

    objective: Objective

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, context: StepContext) -> Tensor:
        """Return the scalar loss of a batch, in float32."""
        require_bfloat16(x.device)
        # no weights are kept in bfloat16: a loss may change them on the way, as AWP does
        with torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False):
            return self.objective(net, x, y, context).float()


def require_bfloat16(device: torch.device) -> None:
    """Refuse a device that does not compute in bfloat16.

    Any CPU does, but slowly without instructions for it (AVX512-BF16, AMX); a GPU has to have it in hardware.

    Raises:
        SettingError: With what to do.
    """
    if device.type == "cpu":
        return
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return
    raise SettingError(
        f"bfloat16 on {device}, which does not compute in it, as far as torch says; expected a CPU or a GPU "
        "with bfloat16 (NVIDIA from Ampere on, AMD from MI200 on): leave Bfloat16Loss out"
    )
