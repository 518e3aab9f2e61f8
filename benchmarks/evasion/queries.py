"""Success at a fixed number of questions beside foolbox' and ART's."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

import quintain as q
from benchmarks.evasion.shared import Counted, lenet, mnist
from benchmarks.harness import Comparison

POINTS = 100
ASKED = (100, 300, 1000)
RADIUS = 1.5


def left(net: nn.Module, found: Tensor, y: Tensor) -> int:
    """How many are still answered rightly."""
    with torch.no_grad():
        return int((net(found).argmax(1) == y).sum())


def art_classifier(net: nn.Module) -> object:
    """The net as ART wants it."""
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(net, nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0.0, 1.0))


def square(x: Tensor, y: Tensor) -> Iterator[Comparison]:
    """Square, Linf 0.1, on the plainly trained net."""
    from art.attacks.evasion import SquareAttack

    net, threat = lenet("cln"), q.Linf(0.1)
    for questions in ASKED:
        outcome = q.attacks.Square(questions)(q.Classifier(net), x, y, threat, max_queries=questions)
        counted = Counted(net).eval()
        np.random.seed(0)
        peer = SquareAttack(
            art_classifier(counted), norm=np.inf, eps=threat.eps, max_iter=questions, nb_restarts=1
        )
        found = torch.from_numpy(peer.generate(x.numpy(), y.numpy()))
        yield Comparison(
            f"Square, {threat.spec}, {questions} questions, {len(x)} pictures",
            f"left standing: ours {int((~outcome.success).sum())} at {int(outcome.forwards.max())} at most, "
            f"ART {left(net, found, y)} at {counted.forwards / len(x):.0f} on average",
        )


def hopskipjump(x: Tensor, y: Tensor) -> Iterator[Comparison]:
    """HopSkipJump, L2: the median size after about as many questions as foolbox asks in so many steps."""
    import foolbox

    net = lenet("cln")
    for steps in (2, 5):
        counted = Counted(net).eval()
        torch.manual_seed(0)
        attack = foolbox.attacks.HopSkipJumpAttack(steps=steps)
        _, found, _ = attack(foolbox.PyTorchModel(counted, bounds=(0, 1), device="cpu"), x, y, epsilons=None)
        questions = counted.forwards // len(x)
        outcome = q.attacks.HopSkipJump(questions)(q.Classifier(net), x, y, q.L2(28.0), max_queries=questions)
        theirs = torch.linalg.vector_norm((found - x).flatten(1), dim=1)
        yield Comparison(
            f"HopSkipJump, l2, {questions} questions, {len(x)} pictures",
            f"median size ours {float(outcome.size.median()):.3g}, foolbox {float(theirs.median()):.3g}; "
            f"within l2 {RADIUS:g}: ours {int((outcome.size <= RADIUS).sum())}, foolbox "
            f"{int((theirs <= RADIUS).sum())}",
        )


def one_pixel(x: Tensor, y: Tensor) -> Iterator[Comparison]:
    """One pixel: every pixel at both ends of the box is fewer questions than differential evolution asks."""
    import torchattacks

    net = lenet("cln")
    outcome = q.attacks.OnePixel()(q.Classifier(net), x, y, q.L0(1))
    counted = Counted(net).eval()
    np.random.seed(0)
    found = torchattacks.OnePixel(counted, pixels=1, steps=100, popsize=4)(x, y)
    yield Comparison(
        f"One pixel, {len(x)} pictures",
        f"left standing: ours {int((~outcome.success).sum())} at "
        f"{float(outcome.forwards.double().mean()):.0f} questions on average, torchattacks "
        f"{left(net, found, y)} at {counted.forwards / len(x):.0f}",
    )


def run() -> Iterator[Comparison]:
    """Square, HopSkipJump and one pixel."""
    x, y = mnist().batch(torch.arange(POINTS))
    yield from square(x, y)
    yield from hopskipjump(x[:30], y[:30])
    yield from one_pixel(x[:50], y[:50])
