"""Layers of given numbers, small random nets of every layer that has a bound rule, and points of a ball to
hold against their bounds.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintain.models.nets import Normalize
from quintain.threats import ExampleRNG, Threat


def dense(weight: list[list[float]], bias: list[float]) -> nn.Linear:
    """A linear layer of these numbers."""
    layer = nn.Linear(len(weight[0]), len(weight))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))
    return layer


class Residual(nn.Module):
    """A residual block and functional forms, with a normalisation written out."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.6]).view(1, 2, 1, 1))
        self.first, self.inner = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.norm, self.last = nn.BatchNorm2d(4), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = F.relu(self.first((x - self.mean) / 0.3))
        h = h + self.norm(self.inner(h)).relu()
        h = F.leaky_relu(self.inner(h), 0.1) * 0.5 + h
        h = F.dropout(F.max_pool2d(h, 3, stride=1), 0.5, self.training)
        h = F.avg_pool2d(h, 2, stride=1) - 0.1
        return {"logits": self.last(torch.flatten(F.adaptive_avg_pool2d(h, 2), 1).view(h.shape[0], -1))}


class Functions(nn.Module):
    """What is written as functions of tensors, with weights that are no layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.taps, self.spread = nn.Parameter(torch.empty(3, 2, 3, 3)), nn.Parameter(torch.empty(3, 2, 2, 2))
        self.rows, self.shift = nn.Parameter(torch.empty(4, 10)), nn.Parameter(torch.empty(4))
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(F.conv2d(x, self.taps, None, 1, 1))
        h = torch.cat([h, -h.transpose(2, 3)], dim=1).permute(0, 2, 3, 1)[:, ..., 1:4].permute(0, 3, 1, 2)
        h = F.conv_transpose2d(h.sigmoid(), self.spread, stride=2)
        h = F.pad(F.gelu(h, approximate="tanh"), (1, -1, 0, 0), value=0.25)
        h = torch.cat([h.mean(dim=(1, 2)), h.mean(3)[:, 1] - h.sum((1, 3)) * 0.1], 1)[:, None, 5:15].sum(1)
        return self.last(F.gelu(F.linear(h, self.rows, self.shift)))


def nets() -> dict[str, nn.Module]:
    """Nets for inputs (B, 2, 5, 5)."""
    return {
        "dense": nn.Sequential(
            nn.Flatten(), nn.Linear(50, 12), nn.ReLU(), nn.Linear(12, 8), nn.LeakyReLU(0.2), nn.Linear(8, 3)
        ),
        "linear": nn.Sequential(nn.Flatten(), nn.Linear(50, 3, bias=False)),
        "conv": nn.Sequential(
            Normalize([0.5, 0.4], [0.2, 0.3]),
            nn.Conv2d(2, 4, 3, stride=2, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout2d(),
            nn.Conv2d(4, 3, 2, dilation=2, bias=False),
            nn.Identity(),
            nn.Flatten(),
            nn.Dropout(),
            nn.Linear(3, 2),
        ),
        "pool": nn.Sequential(
            nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), nn.AvgPool2d(2, padding=1)),
            nn.Conv2d(2, 3, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(3, 6),
            nn.BatchNorm1d(6, affine=False),
            nn.ReLU(),
        ),
        "padded": nn.Sequential(
            nn.Hardtanh(0.1, 0.8),
            nn.ZeroPad2d((1, 0, 2, -1)),
            nn.Conv2d(2, 3, 3),
            nn.ReLU6(),
            nn.Flatten(),
            nn.Unflatten(-1, (3, 4, -1)),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(12, 3),
        ),
        "one logit": nn.Sequential(nn.Flatten(), nn.Linear(50, 6), nn.ReLU(), nn.Linear(6, 1)),
        "residual": Residual(),
        "smooth": nn.Sequential(
            *(nn.Flatten(2), nn.Conv1d(2, 3, 5, stride=3), nn.Tanh(), nn.ConvTranspose1d(3, 2, 2)),
            *(
                nn.Sigmoid(),
                nn.ConstantPad1d((1, 2), 0.5),
                nn.Unflatten(1, (1, 2)),
                nn.ConvTranspose2d(1, 1, 2),
            ),
            *(nn.GELU(), nn.ConstantPad2d(-1, 0.5), nn.Flatten(), nn.Linear(10, 3)),
        ),
        "functions": Functions(),
    }


NAMES = tuple(nets())


def random_net(name: str, seed: int, size: float = 1.0) -> nn.Module:
    """A net with normal weights and statistics, in evaluation mode."""
    net, generator = nets()[name], torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            fan = max(1, parameter[0].numel()) if parameter.ndim > 1 else 4
            parameter.copy_(torch.empty_like(parameter).normal_(generator=generator) * size / fan**0.5)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(generator=generator)
                module.running_var.uniform_(0.2, 2.0, generator=generator)
    return net.eval()


def inputs(seed: int, count: int = 4) -> Tensor:
    """Inputs (count, 2, 5, 5), many of their numbers on the faces of the box."""
    x = torch.empty(count, 2, 5, 5).uniform_(-0.5, 1.5, generator=torch.Generator().manual_seed(seed))
    return x.clamp(0, 1)


def points(model, x: Tensor, y: Tensor, threat: Threat, seed: int) -> list[Tensor]:
    """Allowed points of each ball: samples, corners, and the ends of gradient steps."""
    found = [x]
    for number in range(3):
        draw = ExampleRNG(seed, torch.arange(len(x))).fold_in("points", number)
        found += [
            threat.sample(x, draw),
            threat.project(x + threat.steepest_step(draw.normal(x), threat.eps), x),
        ]
    z = threat.sample(x, ExampleRNG(seed, torch.arange(len(x))))
    for _ in range(5):
        z = z.detach().requires_grad_()
        logits = model(z)
        rest = logits.scatter(1, y[:, None], -torch.inf).amax(1) - logits.gather(1, y[:, None])[:, 0]
        z = threat.project(
            z.detach() + threat.steepest_step(torch.autograd.grad(rest.sum(), z)[0], threat.eps / 2), x
        )
        found.append(z)
    return [point.detach() for point in found]
