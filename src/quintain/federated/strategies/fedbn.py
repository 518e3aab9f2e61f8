"""FedBN: normalization stays at home."""

from collections.abc import Set
from dataclasses import dataclass
from typing import ClassVar

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from quintain.federated.strategies.personal import PersonalPart


@dataclass(frozen=True, slots=True)
class FedBN(PersonalPart):
    """FedBN: parameters and running statistics of BatchNorm and InstanceNorm stay at each site.

    So nets with BatchNorm can be trained together, whose statistics do not average. Without such layers it is
    federated averaging. GroupNorm and LayerNorm keep no statistics and are averaged.

    Source: Li, Jiang, Zhang, Kamp, Dou, 2021, arXiv:2102.07623.
    """

    name: ClassVar[str] = "fedbn"
    summary: ClassVar[str] = "BatchNorm stays at each site, statistics and parameters; the rest is averaged"

    def home_names(self, net: nn.Module) -> Set[str]:
        """Return the names of what belongs to layers with running statistics."""
        return {
            f"{prefix}.{name}" if prefix else name
            for prefix, module in net.named_modules()
            if isinstance(module, _NormBase)
            for name in (*dict(module.named_parameters()), *dict(module.named_buffers()))
        }
