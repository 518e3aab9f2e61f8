"""Fake models: they record what they are shown, limit access, fail at a chosen call, or ignore the batch."""

import torch
from torch import Tensor, nn

from quintain.attacks.outcome import Model
from quintain.models.protocol import Access


class InterruptedCallError(RuntimeError):
    """A fake model failed where it was told to."""


class RecordingModel:
    """A model that keeps every batch that it is shown, and so counts its calls and queries.

    Args:
        model: What gives the logits; always class 0 of three if not given.
    """

    def __init__(self, model: Model | None = None) -> None:
        self.model: Model = model or _always_class_0
        self.batches: list[Tensor] = []

    @property
    def num_queries(self) -> int:
        """How many inputs the model has been shown."""
        return sum(map(len, self.batches))

    def __call__(self, x: Tensor) -> Tensor:
        self.batches.append(x.detach().clone())
        return self.model(x)


class LimitedAccessModel:
    """A model that says that it gives labels or scores alone, and gives no more.

    Args:
        model: What gives the logits.
        access: ``labels`` (logits are 1 for the predicted class and 0 for the others) or ``scores`` (logits
            without gradients).
    """

    def __init__(self, model: Model, access: Access) -> None:
        self.model, self.access = model, access

    def __call__(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            logits = self.model(x)
        if self.access == "labels":
            return nn.functional.one_hot(logits.argmax(1), logits.shape[1]).to(logits.dtype)
        return logits


class FailingModel:
    """A model that raises ``InterruptedCallError`` at a chosen call and at all that follow.

    Args:
        model: What gives the logits.
        fail_at: The first call that fails, from 1; none if not given.
    """

    def __init__(self, model: Model, fail_at: int | None = None) -> None:
        self.model, self.fail_at = model, fail_at
        self.calls = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.fail_at is not None and self.calls >= self.fail_at:
            raise InterruptedCallError(f"call {self.calls} fails, as the test has asked for")
        return self.model(x)


class FragileNet(nn.Module):
    """A small net (B, 9) to (B, 2) with weights, batch statistics and dropout, which fails at a chosen call.

    Class 0 leads, so that little breaks it.

    Args:
        fail_at: The call that raises ``InterruptedCallError``, from 1; none if not given.
    """

    def __init__(self, fail_at: int | None = None) -> None:
        super().__init__()
        last = nn.Linear(8, 2)
        self.layers = nn.Sequential(nn.Linear(9, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), last)
        with torch.no_grad():
            last.bias[0] = 10.0
        self.calls, self.fail_at = 0, fail_at

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 2) from inputs of nine numbers in any shape."""
        self.calls += 1
        if self.calls == self.fail_at:
            raise InterruptedCallError(f"call {self.calls} fails, as the test has asked for")
        logits: Tensor = self.layers(x.flatten(1))
        return logits


class MeanSparse(nn.Module):
    r"""A masked layer: what lies near a feature's mean becomes the mean, and has no gradient.

    .. math:: g(a) = a \text{ where } |a - \mu| > \alpha \sigma, \text{ else } \mu

    The output is near the input, so that the identity in the backward pass (``BPDA``) sees through it.

    Args:
        features: Activations (N, C, ...), which give the mean and the standard deviation of each feature.
        alpha: Half of the width of the masked range, in standard deviations.

    Source: Amini et al., 2024, arXiv:2406.05927.
    """

    def __init__(self, features: Tensor, alpha: float) -> None:
        super().__init__()
        others = [axis for axis in range(features.ndim) if axis != 1]
        self.register_buffer("mean", features.mean(others, keepdim=True))
        self.register_buffer("width", alpha * features.std(others, keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        """The activations, with the mean in place of what is near it."""
        mean, width = self.get_buffer("mean"), self.get_buffer("width")
        return torch.where((x - mean).abs() > width, x, mean)


def batch_invariant_net(features: int, num_classes: int, *, seed: int = 0, lead: float = 0.0) -> Model:
    """Return a float64 net whose logits for an input do not depend on the other inputs, bit for bit.

    A matrix product rounds a row by where it stands in the batch; sums along a row do not.

    Args:
        features: How many numbers an input has.
        num_classes: K.
        seed: Of the weights.
        lead: What class 0 is ahead by; 40 and more is a net that nothing breaks.
    """
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(7, features, generator=generator, dtype=torch.float64) / features**0.5 * 3
    out = torch.randn(num_classes, 7, generator=generator, dtype=torch.float64)
    bias = torch.zeros(num_classes, dtype=torch.float64)
    bias[0] = lead

    def net(x: Tensor) -> Tensor:
        activity = torch.tanh(((x.flatten(1) - 0.5)[:, None, :] * hidden).sum(-1))
        return (activity[:, None, :] * out).sum(-1) + bias

    return net


def random_inputs(count: int, *shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return random inputs (count, *shape) in [0, 1], half of their numbers on the faces of the box."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, *shape, generator=generator, dtype=dtype)
    place = torch.rand(count, *shape, generator=generator)
    return x.masked_fill(place < 0.25, 0).masked_fill(place > 0.75, 1)


def _always_class_0(x: Tensor) -> Tensor:
    return torch.tensor([1.0, 0.0, 0.0]).repeat(len(x), 1)
