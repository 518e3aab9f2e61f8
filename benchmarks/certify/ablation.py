"""Stickers of 5 x 5 pixels on MNIST: clean, certified and attacked accuracy of votes over columns."""

import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

import quintain as q
from benchmarks.evasion.shared import mnist, path
from benchmarks.harness import Comparison
from quintain.models.nets import initialize

STICKER = q.threats.Patch(25 / 784)
WIDTH, EPOCHS, VALIDATION, ATTACKED = 2, 24, 1000, 100
THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4)
PUBLISHED = "Levine and Feizi, 2020: 96.5 % clean, 53 % certified"


class BandNet(nn.Module):
    """Convolutions over the columns that are seen, beside the number of the first one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.first = nn.Conv2d(1, 32, (5, width))
        self.second = nn.Conv2d(32, 64, (5, 1), stride=(2, 1))
        self.hidden, self.out = nn.Linear(64 * 10 + 28, 256), nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` is (B, 1, 28, 28); hidden columns are below 0."""
        seen = (x[:, 0] >= 0).all(1)
        start = (seen & ~seen.roll(1, 1)).float().argmax(1)
        columns = (start[:, None] + torch.arange(self.width)) % 28
        band = x.gather(3, columns[:, None, None].expand(-1, 1, 28, -1))
        features = torch.relu(self.second(torch.relu(self.first(band)))).flatten(1)
        place = nn.functional.one_hot(start, 28).to(x)
        return self.out(torch.relu(self.hidden(torch.cat([features, place], 1))))


def run() -> Iterator[Comparison]:
    """Train on random bands, choose the threshold on images that are not trained on, certify and attack."""
    data = q.load_data(str(path("data/MNIST/raw"))).split("train")
    train, held_out = (data.subset(torch.arange(*ends)) for ends in ((59_000,), (59_000, 60_000)))
    net = initialize(nn.Sequential(BandNet(WIDTH)), 0)
    clock = time.process_time()
    recipe = q.training.Recipe(EPOCHS, batch_size=256, learning_rate=3e-3)
    q.harden.fit(net, train, q.harden.AblationTraining(STICKER, recipe, band_width=WIDTH), seed=0)
    seconds = time.process_time() - clock
    base = q.Classifier(net.eval().requires_grad_(False), num_classes=10)
    models = [q.certify.AblatedClassifier(base, WIDTH, threshold=threshold) for threshold in THRESHOLDS]
    x, y = held_out.batch(torch.arange(VALIDATION))
    model = max(models, key=lambda one: int(one.certify(x, y, STICKER).certified.sum()))
    test = mnist()
    # all of the test split, as published: its first 2,000 images are harder, by some 5 points
    x, y = test.tensors
    clock = time.process_time()
    votes, certified = model.votes(x).sum(1), model.certify(x, y, STICKER).certified
    clean = votes.argmax(1) == y
    yield Comparison(
        f"{len(test):,} MNIST test images, stickers of 5 x 5, bands of {WIDTH} columns, {EPOCHS} epochs "
        f"({seconds:.0f} s of processor time), threshold {model.threshold} of {THRESHOLDS}",
        f"{clean.double().mean():.2%} clean, {certified.double().mean():.2%} certified "
        f"({_published_rule(votes, y).double().mean():.2%} by twice the touched bands); {PUBLISHED}",
    )
    attack = q.attacks.PGD(20)(model, x[:ATTACKED], y[:ATTACKED], STICKER, seed=0)
    unbroken = clean[:ATTACKED] & ~attack.success
    yield Comparison(
        f"the bracket on the first {ATTACKED}, PGD-20 on the votes",
        f"[{certified[:ATTACKED].double().mean():.1%}, {unbroken.double().mean():.1%}], "
        f"{int((certified[:ATTACKED] & ~unbroken).sum())} certified and broken",
    )


def _published_rule(votes: Tensor, y: Tensor) -> Tensor:
    """Whether the label is ahead of each class by more than twice the touched bands, or by as much with the
    smaller number.
    """
    classes = torch.arange(10)
    gap = votes.gather(1, y[:, None]) - votes - 2 * (5 + WIDTH - 1) + (y[:, None] < classes) / 2
    return gap.masked_fill(y[:, None] == classes, torch.inf).amin(1) > 0
