"""The parts of a step in any order: whatever is refused, no gradient without its noise is ever seen, and none
that is not counted.
"""

import contextlib

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import QuintainError
from quintain.dp import PrivacyEngine
from tests.dp.loops import refused

HUGE = 1e6
"""Noise multiplier: what it hides is at most 40, what it adds is about 50,000 at each of 14 numbers."""

PROPER = ("draw", "backward", "clip", "noise", "scale", "inner step")
OTHER = ("step", "zero", "plain zero", "skip", "drop", "load", "bound", "look on")


class Loop:
    """A private loop that is driven by hand, and what can be seen of it."""

    def __init__(self, *, secure: bool, pieces: bool) -> None:
        x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
        self.engine = PrivacyEngine(seed=None if secure else 0, secure_mode=secure)
        plain = nn.Linear(6, 2)
        self.net, self.optimizer, loader = self.engine.make_private(
            module=plain,
            optimizer=torch.optim.SGD(plain.parameters(), lr=1.0),
            data_loader=DataLoader(TensorDataset(x, torch.arange(40) % 2), batch_size=20),
            noise_multiplier=1e3 if secure else HUGE,
            max_grad_norm=1.0,
            max_physical_batch_size=7 if pieces else None,
        )
        self.batches = self.endless(loader)
        self.parameters = list(plain.parameters())
        self.last = self.weights()
        self.released: list[torch.Tensor] = []
        self.draw()

    @staticmethod
    def endless(loader):
        while True:
            yield from loader

    def draw(self) -> None:
        self.x, self.y = next(self.batches)

    def weights(self) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in self.parameters])

    def act(self, what: str) -> None:
        optimizer = self.optimizer
        acts = {
            "draw": self.draw,
            "backward": lambda: F.cross_entropy(self.net(self.x), self.y).backward(),
            "clip": optimizer.clip_and_accumulate,
            "noise": optimizer.add_noise,
            "scale": optimizer.scale_grad,
            "inner step": optimizer.original_optimizer.step,
            "step": optimizer.step,
            "zero": optimizer.zero_grad,
            "plain zero": self.net.zero_grad,
            "skip": optimizer.signal_skip_step,
            "drop": optimizer.discard_batch,
            "load": lambda: optimizer.load_state_dict(optimizer.state_dict()),
            "bound": lambda: setattr(optimizer, "max_grad_norm", 0.9 * optimizer.max_grad_norm),
            "look on": lambda: self.net(self.x),
        }
        acts[what]()

    def look(self) -> None:
        """At gradients and weights: each is as it was, or carries noise, and there are no more of them than
        steps in the ledger.
        """
        quiet = 2.0 if self.optimizer.secure_mode else 100.0
        grads = [p.grad for p in self.parameters]
        if any(g is not None for g in grads):
            seen = torch.cat(
                [torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in self.parameters]
            )
            assert seen.abs().max() > quiet
            if not any(torch.equal(seen, one) for one in self.released):
                self.released.append(seen.clone())
        now = self.weights()
        if not torch.equal(now, self.last):
            assert (now - self.last).abs().max() > quiet
            self.last = now
        assert len(self.released) <= self.engine.ledger.steps


def drive(secure: bool, pieces: bool, data: st.DataObject) -> None:
    """Three steps by hand, of which some parts are left out, done twice, or replaced."""
    acts = [[what] for what in 3 * PROPER]
    for place in data.draw(st.sets(st.integers(0, len(acts) - 1), min_size=1, max_size=6)):
        acts[place] = data.draw(st.lists(st.sampled_from(PROPER + OTHER), max_size=2))
    loop = Loop(secure=secure, pieces=pieces)
    for what in (what for part in acts for what in part):
        with contextlib.suppress(QuintainError):
            loop.act(what)
        loop.look()


@settings(max_examples=100, deadline=None)
@given(secure=st.booleans(), pieces=st.booleans(), data=st.data())
def test_nothing_is_seen_without_its_noise(secure: bool, pieces: bool, data: st.DataObject) -> None:
    drive(secure, pieces, data)


@pytest.mark.exhaustive
@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("pieces", [False, True])
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_nothing_is_seen_without_its_noise_in_more_sequences(
    secure: bool, pieces: bool, data: st.DataObject
) -> None:
    drive(secure, pieces, data)


def test_nothing_is_clipped_between_noise_and_gradients() -> None:
    loop = Loop(secure=False, pieces=False)
    for what in ("backward", "clip", "noise", "draw", "backward"):
        loop.act(what)
    with refused("between add_noise"):
        loop.act("clip")
    loop.act("zero")
    for what in ("draw", "backward", "step"):
        loop.act(what)
        loop.look()
    assert loop.engine.ledger.steps == 2
    assert len(loop.released) == 1
