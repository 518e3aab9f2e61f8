"""Compare the median size of minimum-norm attacks with foolbox's, at about equal forward passes."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

import quintain as q
from benchmarks.evasion.shared import Counted, lenet, mnist
from benchmarks.harness import Comparison

IMAGES = 200
WHOLE_BOX = {"l2": q.L2(28.0), "linf": q.Linf(1.0), "l1": q.L1(784.0), "l0": q.L0(784)}
ORDER = {"l2": 2, "linf": float("inf"), "l1": 1, "l0": 0}


def norms(change: Tensor, kind: str) -> Tensor:
    """Return the norms (B,) of a change, by one function for both libraries."""
    return torch.linalg.vector_norm(change.flatten(1).double(), ord=ORDER[kind], dim=1)


def peer_sizes(attack: object, net: nn.Module, x: Tensor, y: Tensor, kind: str) -> tuple[Tensor, float]:
    """Return foolbox's norms, infinite where it does not break an example, and its forward passes."""
    import foolbox

    counted = Counted(net).eval()
    _, adversarial, _ = attack(
        foolbox.PyTorchModel(counted, bounds=(0, 1), device="cpu"), x, y, epsilons=None
    )  # type: ignore[operator]
    with torch.no_grad():
        broken = net(adversarial).argmax(1) != y
    return torch.where(broken, norms(adversarial - x, kind), torch.inf), counted.forwards / len(x)


def our_sizes(
    attack: q.attacks.Attack, net: nn.Module, x: Tensor, y: Tensor, kind: str
) -> tuple[Tensor, float]:
    """Return our norms, measured by the same function, and our forward passes."""
    counted = Counted(net).eval()
    outcome = attack(q.Classifier(counted), x, y, WHOLE_BOX[kind])
    return torch.where(
        outcome.success, norms(outcome.adversarial - x, kind), torch.inf
    ), counted.forwards / len(x)


def run() -> Iterator[Comparison]:
    """Compare each attack with its counterpart, on both LeNets."""
    from foolbox import attacks as peers

    pairs = (
        ("DDN", "l2", q.attacks.DDN(steps=75), peers.DDNAttack(steps=100)),
        ("FMN", "l2", q.attacks.FMN(steps=75), peers.L2FMNAttack(steps=100)),
        ("FMN", "linf", q.attacks.FMN(steps=75), peers.LInfFMNAttack(steps=100)),
        ("FMN", "l1", q.attacks.FMN(steps=75), peers.L1FMNAttack(steps=100)),
        ("FMN", "l0", q.attacks.FMN(steps=75), peers.L0FMNAttack(steps=100)),
        ("C&W", "l2", q.attacks.CarliniWagner(), peers.L2CarliniWagnerAttack(steps=1000)),
        ("DeepFool", "l2", q.attacks.DeepFool(), peers.L2DeepFoolAttack()),
    )
    x, y = mnist().batch(torch.arange(IMAGES))
    for training in ("cln", "adv"):
        net = lenet(training)
        for name, kind, mine, peer in pairs:
            (ours, our_cost), (theirs, their_cost) = (
                our_sizes(mine, net, x, y, kind),
                peer_sizes(peer, net, x, y, kind),
            )
            yield Comparison(
                f"{name} {kind}, {training}trained LeNet, {IMAGES} images",
                f"median size ours {float(ours.median()):.4g} at {our_cost:.0f} forward passes, foolbox "
                f"{float(theirs.median()):.4g} at {their_cost:.0f}; "
                f"ours smaller on {int((ours < theirs).sum())}, larger on {int((ours > theirs).sum())}",
            )
