"""Compare success at a fixed number of queries with ART, foolbox and torchattacks."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

import quintain as q
from benchmarks.evasion.shared import Counted, lenet, mnist
from benchmarks.harness import Comparison, TimedComparison, compare_times

IMAGES = 100
QUERIES = (100, 300, 1000)
RADIUS = 1.5


def n_correct(net: nn.Module, adversarial: Tensor, y: Tensor) -> int:
    """Return how many examples are still classified correctly."""
    with torch.no_grad():
        return int((net(adversarial).argmax(1) == y).sum())


def art_classifier(net: nn.Module) -> object:
    """Wrap the net for ART."""
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(net, nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0.0, 1.0))


def square(x: Tensor, y: Tensor) -> Iterator[Comparison]:
    """Compare Square at Linf 0.1 on the plainly trained net."""
    from art.attacks.evasion import SquareAttack

    net, threat = lenet("cln"), q.Linf(0.1)
    for queries in QUERIES:
        outcome = q.attacks.Square(queries)(q.Classifier(net), x, y, threat, max_queries=queries)
        counted = Counted(net).eval()
        np.random.seed(0)
        peer = SquareAttack(
            art_classifier(counted), norm=np.inf, eps=threat.eps, max_iter=queries, nb_restarts=1
        )
        adversarial = torch.from_numpy(peer.generate(x.numpy(), y.numpy()))
        yield Comparison(
            f"Square, {threat.spec}, {queries} queries, {len(x)} images",
            f"unbroken: ours {int((~outcome.success).sum())} at {int(outcome.forwards.max())} at most, "
            f"ART {n_correct(net, adversarial, y)} at {counted.forwards / len(x):.0f} on average",
        )


def hopskipjump(x: Tensor, y: Tensor) -> Iterator[Comparison | TimedComparison]:
    """Compare HopSkipJump's median L2 size, and its time, for as many queries as foolbox makes."""
    import foolbox

    net = lenet("cln")
    for steps in (2, 5):
        counted = Counted(net).eval()
        torch.manual_seed(0)
        attack = foolbox.attacks.HopSkipJumpAttack(steps=steps)
        _, adversarial, _ = attack(
            foolbox.PyTorchModel(counted, bounds=(0, 1), device="cpu"), x, y, epsilons=None
        )
        queries = counted.forwards // len(x)
        outcome = q.attacks.HopSkipJump(queries)(q.Classifier(net), x, y, q.L2(28.0), max_queries=queries)
        theirs = torch.linalg.vector_norm((adversarial - x).flatten(1), dim=1)
        yield Comparison(
            f"HopSkipJump, l2, {queries} queries, {len(x)} images",
            f"median size ours {float(outcome.size.median()):.3g}, foolbox {float(theirs.median()):.3g}; "
            f"within l2 {RADIUS:g}: ours {int((outcome.size <= RADIUS).sum())}, foolbox "
            f"{int((theirs <= RADIUS).sum())}",
        )
        if steps == 2:
            yield compare_times(
                f"HopSkipJump, l2, seconds for {queries} queries, {len(x)} images",
                partial(q.attacks.HopSkipJump(queries), q.Classifier(net), x, y, q.L2(28.0)),
                partial(attack, foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu"), x, y, epsilons=None),
                rounds=3,
            )


def one_pixel(x: Tensor, y: Tensor) -> Iterator[Comparison]:
    """Compare one pixel: both ends of the box at every pixel, against differential evolution."""
    import torchattacks

    net = lenet("cln")
    outcome = q.attacks.OnePixel()(q.Classifier(net), x, y, q.L0(1))
    counted = Counted(net).eval()
    np.random.seed(0)
    adversarial = torchattacks.OnePixel(counted, pixels=1, steps=100, popsize=4)(x, y)
    yield Comparison(
        f"One pixel, {len(x)} images",
        f"unbroken: ours {int((~outcome.success).sum())} at "
        f"{float(outcome.forwards.double().mean()):.0f} queries on average, torchattacks "
        f"{n_correct(net, adversarial, y)} at {counted.forwards / len(x):.0f}",
    )


def run() -> Iterator[Comparison | TimedComparison]:
    """Compare Square, HopSkipJump and one pixel."""
    x, y = mnist().batch(torch.arange(IMAGES))
    yield from square(x, y)
    yield from hopskipjump(x[:30], y[:30])
    yield from one_pixel(x[:50], y[:50])
