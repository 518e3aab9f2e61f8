"""What the tests of private loops share."""

from typing import Any

import pytest
import torch.nn.functional as F
from torch import Tensor, nn

from quintain.core.errors import PrivacyError


def step(net: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
    """One turn of the ordinary loop."""
    optimizer.zero_grad()
    F.cross_entropy(net(x), y).backward()
    optimizer.step()


def full(size: int) -> dict[str, float]:
    """Settings of a loader that draws everything each time, and of a step that is plain."""
    return {"batch": size, "noise_multiplier": 0.0, "max_grad_norm": float("inf")}


def refused(match: str, error: type[Exception] = PrivacyError) -> Any:
    """What is inside raises this."""
    return pytest.raises(error, match=match)
