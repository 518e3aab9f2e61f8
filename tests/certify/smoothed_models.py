"""Models whose votes under noise are known."""

from queue import SimpleQueue

import torch
from torch import nn

from quintain.models import Classifier


def halfspace(weight, offset):
    """Class 1 where weight . x > offset: its vote flips at exactly (weight . x - offset) / |weight|."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(len(weight), 1)).eval()
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([weight]))
        net[1].bias.fill_(-offset)
    return Classifier(net)


def drained(queue: SimpleQueue) -> list:
    """All that was put into a queue, which is empty then."""
    return [queue.get() for _ in range(queue.qsize())]


class Counting(nn.Module):
    """Keeps the sizes that it sees where its hash does not look: it computes the same each time."""

    def __init__(self):
        super().__init__()
        self.seen = SimpleQueue()  # of which a hash counts the type alone

    def forward(self, x):
        self.seen.put(x.numel())
        return torch.stack([x.flatten(1).mean(1), 1 - x.flatten(1).mean(1)], 1)
