"""AutoAttack and the quick ensemble beside the authors' (pyautoattack), on the adversarially trained LeNet at
Linf 0.3.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import quintain as q
from benchmarks.evasion.shared import Counted, lenet, mnist
from benchmarks.harness import Comparison

THREAT = q.Linf(0.3)
POINTS = 100
MANY = 1000


@dataclass(frozen=True, slots=True)
class Run:
    """What one library left standing, and what it paid for it."""

    standing: Tensor
    seconds: float
    forwards: float
    backwards: float

    def line(self) -> str:
        """In words."""
        return (
            f"{int(self.standing.sum())} of {len(self.standing)} left, {self.seconds:.1f} s, "
            f"{self.forwards:.0f} forwards and {self.backwards:.0f} gradients a point"
        )


def measured(net: nn.Module, x: Tensor, attack: Callable[[nn.Module], Tensor]) -> Run:
    """Run an attack that says who still stands; count at the net."""
    counted = Counted(net).eval()
    clock = time.perf_counter()
    standing = attack(counted)
    return Run(standing, time.perf_counter() - clock, counted.forwards / len(x), counted.backwards / len(x))


def ours(
    ensemble: q.attacks.Attack, x: Tensor, y: Tensor, threat: q.Linf = THREAT, **words: Tensor
) -> Callable[[nn.Module], Tensor]:
    """One of our ensembles."""
    return lambda net: ~ensemble(q.Classifier(net), x, y, threat, seed=0, **words).success


def reference(x: Tensor, y: Tensor, threat: q.Linf = THREAT) -> Callable[[nn.Module], Tensor]:
    """The authors' AutoAttack, standard, judged on what it returns."""
    from pyautoattack import AutoAttack

    def attack(net: nn.Module) -> Tensor:
        found = AutoAttack(
            net, norm="Linf", eps=threat.eps, version="standard", seed=0
        ).run_standard_evaluation(x, y, batch_size=500)
        with torch.no_grad():
            return net.net(found[0] if isinstance(found, tuple) else found).argmax(1) == y

    return attack


def told(name: str, mine: Run, peer: Run) -> Comparison:
    """Both, and the ratios."""
    lost, won = int((mine.standing & ~peer.standing).sum()), int((~mine.standing & peer.standing).sum())
    return Comparison(
        name,
        f"ours {mine.line()}; peer {peer.line()}; ours/peer time 1/{peer.seconds / mine.seconds:.1f}, "
        f"gradients 1/{peer.backwards / max(mine.backwards, 1e-9):.1f}, forwards "
        f"1/{peer.forwards / max(mine.forwards, 1e-9):.1f}; left by us and broken by the peer: {lost}, the "
        f"other way round: {won}",
    )


def run() -> Iterator[Comparison]:
    """Point by point on the same pictures."""
    net, data = lenet("adv"), mnist()
    x, y = data.batch(torch.arange(POINTS))
    peer = measured(net, x, reference(x, y))
    standard = measured(net, x, ours(q.attacks.AutoAttack(), x, y))
    yield told(
        f"AutoAttack() against the authors' AutoAttack, {POINTS} MNIST test pictures, {THREAT.spec}",
        standard,
        peer,
    )
    yield told("Quick() against the same", measured(net, x, ours(q.attacks.Quick(), x, y)), peer)

    x, y = data.batch(torch.arange(MANY))
    long, short = (
        measured(net, x, ours(ensemble, x, y)) for ensemble in (q.attacks.AutoAttack(), q.attacks.Quick())
    )
    yield told(f"Quick() against our own AutoAttack(), {MANY} pictures", short, long)
