"""Ways to break the bound through the public interface: each is refused, or does no harm."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from quintain.core.errors import PrivacyError
from tests.dp.support.loops import refused, step


def released(optimizer) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in optimizer.params]).clone()


def test_no_plain_gradient_joins_the_noisy_one(private, blobs) -> None:
    net, optimizer, loader, _ = private(batch=20)
    x, y = next(iter(loader))
    F.cross_entropy(net(x), y).backward()
    assert optimizer.pre_step()
    net.eval()
    F.cross_entropy(net(blobs[0]), blobs[1]).backward()
    with refused("plain gradient"):
        optimizer.original_optimizer.step()


def test_noisy_gradients_may_be_changed_by_a_hook_of_the_step(private) -> None:
    net, optimizer, loader, _ = private(batch=20)
    optimizer.attach_step_hook(lambda one: [p.grad.zero_() for p in one.params])
    before = [p.detach().clone() for p in net.parameters()]
    step(net, optimizer, *next(iter(loader)))
    assert all(torch.equal(p, old) for p, old in zip(net.parameters(), before, strict=True))


def test_a_gradient_that_is_kept_never_shows_a_sum_without_noise(private) -> None:
    net, optimizer, loader, _ = private(batch=20)
    step(net, optimizer, *next(iter(loader)))
    kept, copied = [p.grad for p in net.parameters()], [p.grad.clone() for p in net.parameters()]
    optimizer.zero_grad()
    x, y = next(iter(loader))
    F.cross_entropy(net(x), y).backward()
    optimizer.clip_and_accumulate()
    assert all(torch.equal(one, other) for one, other in zip(kept, copied, strict=True))


def test_an_error_within_a_forward_leaves_the_module_as_it_was(private) -> None:
    net, optimizer, loader, _ = private()
    x, y = next(iter(loader))
    with pytest.raises(RuntimeError):
        net(x[:, :4])
    assert all(p.requires_grad for p in net.parameters())
    step(net, optimizer, x, y)


class Breaks(torch.autograd.Function):
    """Fails on its way back."""

    @staticmethod
    def forward(_ctx, x):
        return x.clone()

    @staticmethod
    def backward(_ctx, _g):
        raise MemoryError


def test_a_backward_that_breaks_half_way_does_not_count_a_record_twice(private) -> None:
    class Fails(nn.Sequential):
        fails = False

        def forward(self, x):
            x = self[0](x).relu()
            return self[1](Breaks.apply(x) if self.fails else x)

    net, optimizer, loader, engine = private(
        Fails(nn.Linear(6, 5), nn.Linear(5, 2)), noise_multiplier=0.0, max_grad_norm=0.01
    )
    step(net, optimizer, *next(iter(loader)))
    optimizer.zero_grad()
    x, y = next(iter(loader))
    net.fails = True
    with pytest.raises(MemoryError):
        F.cross_entropy(net(x), y).backward()
    net.fails = False
    F.cross_entropy(net(x), y).backward()
    with refused("each record once"):
        optimizer.step()
    step(net, optimizer, x, y)
    assert released(optimizer).norm() * 8 <= len(x) * 0.01 * (1 + 1e-6)
    assert engine.ledger.steps == 2


@pytest.mark.parametrize("between", ["eval", "frozen", "no grad"])
def test_changes_between_forward_and_backward_leave_the_bound(private, between: str) -> None:
    net, optimizer, loader, _ = private(batch=20, noise_multiplier=0.0, max_grad_norm=0.01)
    x, y = next(iter(loader))
    loss = F.cross_entropy(net(x), y)
    if between == "eval":
        net.eval()
    if between == "frozen":
        net[0].weight.requires_grad_(False)
    loss.backward()
    net[0].weight.requires_grad_(True)
    net.train()
    optimizer.step()
    assert 0 < released(optimizer).norm() * 20 <= len(x) * 0.01 * (1 + 1e-6)


class Saving(nn.Module):
    """A part of it runs again in the backward pass."""

    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 2)
        self.run = partial(checkpoint, use_reentrant=reentrant)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.third(self.run(lambda x: self.second(x).tanh(), self.first(x)))


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_is_refused(private, reentrant: bool) -> None:
    net, _, loader, _ = private(Saving(reentrant=reentrant), batch=20)
    x, y = next(iter(loader))
    with pytest.raises((PrivacyError, RuntimeError), match=r"outside the module's own forward|use_reentrant"):
        F.cross_entropy(net(x), y).backward()
    assert all(p.grad is None for p in net.parameters())


def test_hooks_of_parameters_see_noisy_gradients_alone(private) -> None:
    seen = []
    net, optimizer, loader, _ = private(batch=20)
    for parameter in net.parameters():
        parameter.register_hook(seen.append)
        parameter.register_post_accumulate_grad_hook(seen.append)
    step(net, optimizer, *next(iter(loader)))
    assert not seen


def test_a_scaled_loss_moves_the_sum_by_no_more(private) -> None:
    for scale in (1e-6, 1e6):
        net, optimizer, loader, _ = private(batch=20, noise_multiplier=0.0, max_grad_norm=0.01)
        x, y = next(iter(loader))
        (scale * F.cross_entropy(net(x), y)).backward()
        optimizer.step()
        assert released(optimizer).norm() * 20 <= len(x) * 0.01 * (1 + 1e-6)


def test_replicas_for_several_devices_train_the_module_inside(private) -> None:
    net, optimizer, loader, engine = private(batch=20, noise_multiplier=0.0, max_grad_norm=0.01)
    x, y = next(iter(loader))
    step(nn.DataParallel(net), optimizer, x, y)
    assert engine.ledger.steps == 1
    assert 0 < released(optimizer).norm() * 20 <= len(x) * 0.01 * (1 + 1e-6)


@pytest.mark.parametrize("how", [pytest.param("a function of it", marks=pytest.mark.exhaustive), "in place"])
def test_a_module_that_is_compiled_afterwards_is_refused(private, how: str) -> None:
    """Its hooks are compiled with it, or fall away: no probe looks at such passes.

    The module is a single layer, since each hook is compiled, which takes seconds.
    """
    net, optimizer, loader, engine = private(nn.Linear(6, 2), batch=20)
    x, y = next(iter(loader))
    if how == "in place":
        net.compile(backend="eager")
    with refused(r"passes of a compiled module.*leave out torch\.compile and module\.compile\(\)"):
        step(net if how == "in place" else torch.compile(net, backend="eager"), optimizer, x, y)
    assert engine.ledger.steps == 0
    assert all(p.grad is None for p in net.parameters())


def test_functional_calls_with_other_parameters_are_refused(private) -> None:
    net, _, loader, _ = private(batch=20)
    x, _ = next(iter(loader))
    others = {name: nn.Parameter(p.detach().clone()) for name, p in net.named_parameters()}
    with refused("trainable parameters are not those"):
        torch.func.functional_call(net, others, x)


def test_weights_that_change_between_forward_and_backward_are_refused(private) -> None:
    net, optimizer, loader, engine = private(batch=20, noise_multiplier=0.0, max_grad_norm=0.01)
    x, y = next(iter(loader))
    loss = F.cross_entropy(net(x), y)
    for parameter in net.parameters():
        parameter.data.mul_(1e4)
    loss.backward()
    with refused("parameter '0.weight' was written by a pass"):
        optimizer.step()
    assert engine.ledger.steps == 0


def test_weights_may_be_loaded_into_the_module(private) -> None:
    net, optimizer, loader, engine = private(wrap_model=True)
    net.load_state_dict({name: torch.zeros_like(x) for name, x in net.state_dict().items()})
    step(net, optimizer, *next(iter(loader)))
    assert engine.ledger.steps == 1


class Borrows(nn.Module):
    """Uses the weight of a layer without calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.inside.weight)


def test_the_refusal_of_a_borrowed_weight_says_what_to_register(private) -> None:
    net, optimizer, loader, _ = private(nn.Sequential(Borrows()), batch=20)
    x, y = next(iter(loader))
    F.cross_entropy(net(x), y).backward()
    with refused(
        r"'0.inside.weight' has a plain gradient.*register_rule\(Borrows\)\(VMAP_RULE\), of dp.rules"
    ):
        optimizer.step()


def test_a_pass_that_was_interrupted_is_forgotten(private, blobs) -> None:
    class Interrupted(nn.Linear):
        now = True

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.now:
                raise KeyboardInterrupt
            return super().forward(x)

    layer = Interrupted(6, 2)
    with pytest.warns(UserWarning, match="vmap"):
        net, optimizer, loader, _ = private(nn.Sequential(nn.Linear(6, 6), layer))
    for x, y in loader:
        with pytest.raises(KeyboardInterrupt):
            net(x)
        Interrupted.now = False
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        break
    assert layer.weight.requires_grad
    assert optimizer.steps == 1
