"""Classic defenses stop an attack that does not know of them, and fall to an adaptive one that does."""

import pytest
import torch
from torch import Tensor, nn

import quintain as q
from quintain.attacks import BPDA, EOT, PGD, majority_vote
from quintain.core.errors import ModelError, SettingError
from quintain.models.preprocessing import (
    JPEG,
    BitSqueeze,
    GaussianFilter,
    MeanFilter,
    MedianFilter,
    RandomResize,
)

THREAT = q.Linf(0.2)
SIDES = torch.cat([-torch.ones(16, 8), torch.ones(16, 8)], 1)
SPECKLE = torch.randn(16, 16, generator=torch.Generator().manual_seed(0)).sign()


def pictures(count: int, *, seed: int, gray: float = 0.5) -> tuple[Tensor, Tensor]:
    """Gray squares, one half a little brighter than the other: which one is the class."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 2, (count,), generator=generator)
    noise = 0.04 * torch.rand(count, 1, 16, 16, generator=generator) - 0.02
    return gray + 0.1 * (2 * y - 1)[:, None, None, None] * SIDES + noise, y


@pytest.fixture
def net() -> nn.Module:
    """A net that compares the halves, and that a speckle misleads, which no clean image has and filters
    remove.
    """
    net = nn.Sequential(nn.Flatten(), nn.Linear(256, 2, bias=False))
    with torch.no_grad():
        score = (SIDES + 1.1 * SPECKLE).flatten()
        net[1].weight.copy_(torch.stack([-score, score]))
    return net.eval()


def accuracy(model: object, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float((model(x).argmax(1) == y).double().mean())  # type: ignore[operator]


@pytest.mark.parametrize(
    "defense",
    [MedianFilter(3), GaussianFilter(1.0), MeanFilter(3)],
    ids=lambda defense: type(defense).__name__,
)
def test_a_filter_stops_an_unaware_attack_but_not_an_adaptive_one(net: nn.Module, defense: nn.Module) -> None:
    x, y = pictures(60, seed=3)
    defended = q.Classifier(nn.Sequential(defense, net).eval())
    assert accuracy(defended, x, y) == 1
    unaware = PGD(steps=20)(q.Classifier(net), x, y, THREAT)
    assert unaware.success.all()
    assert accuracy(defended, unaware.adversarial, y) > 0.9

    differentiable = BPDA(defense, substitute=MeanFilter(3)) if isinstance(defense, MedianFilter) else defense
    adaptive = PGD(steps=20)(q.Classifier(nn.Sequential(differentiable, net).eval()), x, y, THREAT)
    assert accuracy(defended, adaptive.adversarial, y) < 0.1


def test_random_resizing_stops_an_unaware_attack_but_not_eot(net: nn.Module) -> None:
    x, y = pictures(60, seed=3, gray=0.2)
    threat = q.Linf(0.13)
    defended = q.Classifier(nn.Sequential(RandomResize(0.7, seed=2), net).eval())
    assert accuracy(defended, x, y) > 0.9
    unaware = PGD(steps=20)(q.Classifier(net), x, y, threat)
    assert unaware.success.all()
    assert accuracy(defended, unaware.adversarial, y) > 0.7
    adaptive = PGD(steps=20)(EOT(defended, samples=8), x, y, threat)
    votes = majority_vote(defended, adaptive.adversarial, y, samples=40)
    assert sum(vote.misclassified for vote in votes) > 0.6 * len(votes)


@pytest.mark.parametrize(
    ("defense", "substitute"), [(BitSqueeze(2), None), (JPEG(10), MeanFilter(3))], ids=["bits", "jpeg"]
)
def test_rounding_stops_its_own_gradient_but_not_bpda(
    net: nn.Module, defense: nn.Module, substitute: nn.Module | None
) -> None:
    x, y = pictures(60, seed=4)
    defended = q.Classifier(nn.Sequential(defense, net).eval())
    assert accuracy(defended, x, y) == 1
    direct = PGD(steps=20)(defended, x, y, THREAT)
    assert accuracy(defended, direct.adversarial, y) > 0.9
    adaptive = PGD(steps=20)(q.Classifier(nn.Sequential(BPDA(defense, substitute), net).eval()), x, y, THREAT)
    assert accuracy(defended, adaptive.adversarial, y) < 0.1


def test_bpda_gives_the_outputs_of_the_defense_itself() -> None:
    x = torch.rand(4, 1, 8, 8).requires_grad_()
    defense, wrapped = BitSqueeze(2), BPDA(BitSqueeze(2))
    assert torch.equal(wrapped(x), defense(x))
    (gradient,) = torch.autograd.grad((3 * wrapped(x)).sum(), x)
    assert torch.equal(gradient, torch.full_like(x, 3))


def test_a_given_substitute_gives_the_gradient() -> None:
    x = torch.rand(4, 5, dtype=torch.float64).requires_grad_()
    wrapped = BPDA(lambda z: z.round(), substitute=torch.sin)
    (gradient,) = torch.autograd.grad(wrapped(x).sum(), x)
    assert torch.allclose(gradient, x.cos())
    same = BPDA(lambda z: z)
    assert torch.equal(same(x), x)


@pytest.mark.parametrize("substitute", [None, lambda z: z.detach()[:, :2]], ids=["identity", "no gradient"])
def test_a_substitute_of_another_shape_or_without_a_gradient_is_refused(substitute) -> None:
    total = BPDA(lambda z: z[:, :2].round(), substitute)(torch.rand(4, 5).requires_grad_()).sum()
    with pytest.raises(ModelError, match=r"maps \(4, 5\) to \(4, 2\).*expected a differentiable substitute"):
        total.backward()


def test_eot_counts_each_sample_as_a_query() -> None:
    outcome = PGD(steps=2)(
        EOT(lambda z: z.flatten(1)[:, :2], samples=5),
        torch.tensor([[0.9, 0.1]]),
        torch.tensor([0]),
        q.Linf(0.01),
    )
    # Four queries of 5 samples: the clean point, the two from which PGD steps, and the one where it ends.
    # Only those from which it steps are differentiated: 2 * 5 backward passes.
    assert outcome.forwards.tolist() == [20]
    assert outcome.backwards.tolist() == [10]


def test_the_majority_is_counted_over_new_samples_with_an_interval() -> None:
    generator = torch.Generator().manual_seed(0)

    def coin(z: Tensor) -> Tensor:
        heads = torch.rand(len(z), generator=generator) < z[:, 0]
        return torch.stack([(~heads).double(), heads.double()], 1)

    votes = majority_vote(
        coin,
        torch.tensor([[0.0], [0.5], [0.9]]),
        torch.zeros(3, dtype=torch.long),
        samples=400,
        batch_size=100,
    )
    assert [vote.misclassified for vote in votes] == [False, False, True]
    with pytest.raises(SettingError, match="batch_size = 0"):
        majority_vote(coin, torch.rand(1, 1), torch.tensor([0]), batch_size=0)
    assert votes[0].wrong == 0
    assert votes[1].ci_low < 0.5 < votes[1].ci_high
