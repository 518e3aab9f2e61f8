"""Compare AutoAttack and Quick with the authors' AutoAttack, on the adversarial LeNet at Linf 0.3."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import quintain as q
from benchmarks.evasion.shared import Counted, lenet, mnist
from benchmarks.harness import Comparison

THREAT = q.Linf(0.3)
IMAGES = 100
MANY_IMAGES = 1000


@dataclass(frozen=True, slots=True)
class AttackRun:
    """The examples that one library left unbroken, and what the attack cost per image."""

    unbroken: Tensor
    seconds: float
    forwards: float
    backwards: float

    def line(self) -> str:
        """The run in one line."""
        return (
            f"{int(self.unbroken.sum())} of {len(self.unbroken)} unbroken, {self.seconds:.1f} s, "
            f"{self.forwards:.0f} forward passes and {self.backwards:.0f} gradients an image"
        )


def run_attack(net: nn.Module, x: Tensor, attack: Callable[[nn.Module], Tensor]) -> AttackRun:
    """Run an attack that returns which examples are unbroken, and count passes at the net."""
    counted = Counted(net).eval()
    clock = time.perf_counter()
    unbroken = attack(counted)
    return AttackRun(
        unbroken, time.perf_counter() - clock, counted.forwards / len(x), counted.backwards / len(x)
    )


def ours(
    ensemble: q.attacks.Attack, x: Tensor, y: Tensor, threat: q.Linf = THREAT, **settings: Tensor
) -> Callable[[nn.Module], Tensor]:
    """Return one of our ensembles as a function of the net."""
    return lambda net: ~ensemble(q.Classifier(net), x, y, threat, seed=0, **settings).success


def reference(x: Tensor, y: Tensor, threat: q.Linf = THREAT) -> Callable[[nn.Module], Tensor]:
    """Return the authors' standard AutoAttack; what it returns is classified again."""
    from pyautoattack import AutoAttack

    def attack(net: nn.Module) -> Tensor:
        adversarial = AutoAttack(
            net, norm="Linf", eps=threat.eps, version="standard", seed=0
        ).run_standard_evaluation(x, y, batch_size=500)
        with torch.no_grad():
            return net.net(adversarial[0] if isinstance(adversarial, tuple) else adversarial).argmax(1) == y

    return attack


def compare_runs(name: str, mine: AttackRun, peer: AttackRun) -> Comparison:
    """Return both runs and the ratios of their costs."""
    lost, won = int((mine.unbroken & ~peer.unbroken).sum()), int((~mine.unbroken & peer.unbroken).sum())
    return Comparison(
        name,
        f"ours {mine.line()}; peer {peer.line()}; ours/peer time 1/{peer.seconds / mine.seconds:.1f}, "
        f"gradients 1/{peer.backwards / max(mine.backwards, 1e-9):.1f}, forward passes "
        f"1/{peer.forwards / max(mine.forwards, 1e-9):.1f}; unbroken by us and broken by the peer: {lost}, "
        f"the other way round: {won}",
    )


def run() -> Iterator[Comparison]:
    """Attack the same images with both libraries."""
    net, data = lenet("adv"), mnist()
    x, y = data.batch(torch.arange(IMAGES))
    peer = run_attack(net, x, reference(x, y))
    standard = run_attack(net, x, ours(q.attacks.AutoAttack(), x, y))
    yield compare_runs(
        f"AutoAttack() against the authors' AutoAttack, {IMAGES} MNIST test images, {THREAT.spec}",
        standard,
        peer,
    )
    yield compare_runs("Quick() against the same", run_attack(net, x, ours(q.attacks.Quick(), x, y)), peer)

    x, y = data.batch(torch.arange(MANY_IMAGES))
    long, short = (
        run_attack(net, x, ours(ensemble, x, y)) for ensemble in (q.attacks.AutoAttack(), q.attacks.Quick())
    )
    yield compare_runs(f"Quick() against our own AutoAttack(), {MANY_IMAGES} images", short, long)
