"""The parts of a step in any order: whatever is refused, no gradient without its noise is ever seen, and none
that is not counted; and the phase of the step follows its table.
"""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import PrivacyError, QuintainError
from quintain.dp import PrivacyEngine
from quintain.dp.step.pending_batch import PendingBatch
from quintain.dp.step.phase import REFUSALS, TRANSITIONS, StepPhase
from tests.dp.support.loops import refused

HUGE = 1e6
"""Noise multiplier: what it hides is at most 40, what it adds is about 50,000 at each of 14 numbers."""

PROPER = ("draw", "backward", "clip", "noise", "scale", "inner step")
OTHER = ("step", "zero", "plain zero", "skip", "drop", "load", "bound", "look on", "failing noise")

PHASES = ("EMPTY", "ACCUMULATING", "SUSPENDED", "NOISED", "RELEASED")
TABLE = {
    "accumulate": ("ACCUMULATING", "ACCUMULATING", "ACCUMULATING", None, "ACCUMULATING"),
    "suspend": (None, "SUSPENDED", None, None, None),
    "add_noise": (None, "NOISED", "NOISED", None, None),
    "write_gradients": (None, None, None, "RELEASED", None),
    "inner_step": (None, None, None, None, "EMPTY"),
    "zero_grad": ("EMPTY", "EMPTY", "SUSPENDED", "EMPTY", "EMPTY"),
    "discard_batch": ("EMPTY", "EMPTY", "EMPTY", "EMPTY", "EMPTY"),
    "configure": ("EMPTY", None, None, "NOISED", "RELEASED"),
}
"""The phase after each event, in the order of the phases before it; None where it is refused."""

EVENT_OF = {
    "noise": "add_noise",
    "scale": "write_gradients",
    "inner step": "inner_step",
    "zero": "zero_grad",
    "drop": "discard_batch",
    "bound": "configure",
    "load": "configure",
}
"""The event of each act that is one."""


def after(event: str, phase: str) -> str | None:
    """The phase after an event, by the table above."""
    return TABLE[event][PHASES.index(phase)]


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
            "failing noise": self.fail,
        }
        acts[what]()

    def fail(self) -> None:
        """Memory that runs out while the noise is added, after the step was recorded."""

        def fails(*_: object) -> None:
            raise MemoryError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.optimizer.private_step.sum, "add_noise", fails)
            self.optimizer.add_noise()

    @property
    def phase(self) -> str:
        return self.optimizer.private_step.pending.phase.name

    def follow(self, what: str) -> None:
        """Act, and see that the phase is then what the table says."""
        before = self.phase
        try:
            self.act(what)
        except MemoryError:
            assert what == "failing noise"
            assert after("add_noise", before) is not None
            assert self.phase == "EMPTY"
        except QuintainError:
            # the passes that a refused act had to sum first are summed
            may_sum = what in ("backward", "look on", "clip", "step")
            sums = {after("accumulate", before), "EMPTY"} if may_sum else set()
            assert self.phase in {before, *sums}
        else:
            assert self.phase in self.expected(what, before)

    def expected(self, what: str, before: str) -> set[str | None]:
        """The phases that an act which was not refused may lead to."""
        if what in EVENT_OF:
            return {after(EVENT_OF[what], before)}
        if what in ("backward", "look on", "clip"):
            return {before, after("accumulate", before)}
        return {"step": {"SUSPENDED", "EMPTY"}}.get(what, {before})

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
        loop.follow(what)
        loop.look()


@settings(max_examples=50, deadline=None)
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


WAY_TO = {
    "EMPTY": (),
    "ACCUMULATING": ("backward", "clip"),
    "SUSPENDED": ("backward", "skip", "step"),
    "NOISED": ("backward", "clip", "noise"),
    "RELEASED": ("backward", "clip", "noise", "scale"),
}
ACTS_OF = {
    "accumulate": ("draw", "backward", "clip"),
    "suspend": ("skip", "step"),
    **{event: (what,) for what, event in EVENT_OF.items() if what != "load"},
}


@pytest.mark.parametrize(("event", "phase"), list(product(TABLE, PHASES)))
def test_each_event_in_each_phase_is_in_the_table_or_is_refused_by_name(event: str, phase: str) -> None:
    loop = Loop(secure=False, pieces=False)
    for what in WAY_TO[phase]:
        loop.act(what)
    assert loop.phase == phase
    *first, last = ACTS_OF[event]
    for what in first:
        loop.act(what)
    if after(event, phase) is None:
        with pytest.raises(PrivacyError) as caught:
            loop.act(last)
        assert REFUSALS[event].removeprefix("an optimizer ") in str(caught.value)
    else:
        loop.act(last)
    assert loop.phase == after(event, phase) or (loop.phase == phase and after(event, phase) is None)
    loop.look()


@pytest.mark.parametrize(("event", "phase"), list(product(TABLE, PHASES)))
def test_the_pending_batch_moves_by_the_table_alone(event: str, phase: str) -> None:
    assert list(TRANSITIONS) == list(TABLE)
    pending = PendingBatch(StepPhase[phase], examples_summed=3, batch_numbers={1}, doubled_centered_count=2)
    expected = after(event, phase)
    if expected is None:
        with pytest.raises(PrivacyError) as caught:
            pending.move(event)
        assert str(caught.value) == REFUSALS[event]
    else:
        pending.move(event)
    assert pending.phase is StepPhase[expected or phase]
    counted = (pending.examples_summed, pending.batch_numbers, pending.doubled_centered_count)
    kept = expected is None or expected in ("ACCUMULATING", "SUSPENDED")
    assert counted == ((3, {1}, 2) if kept else (0, set(), 0))


def test_the_permission_to_step_lapses_with_new_gradients() -> None:
    loop = Loop(secure=False, pieces=False)
    loop.act("backward")
    assert loop.optimizer.pre_step()
    assert loop.phase == "RELEASED"
    for what in ("draw", "backward", "clip"):
        loop.act(what)
        loop.look()
    with refused("past the clip and the noise"):
        loop.act("inner step")
    loop.act("step")
    loop.look()
    assert (loop.phase, loop.engine.ledger.steps) == ("EMPTY", 2)


@pytest.mark.parametrize("until", ["noise", "scale"])
def test_what_is_set_after_the_noise_holds_from_the_next_step_on(until: str) -> None:
    loop = Loop(secure=False, pieces=False)
    parts = ("backward", "clip", "noise", "scale")
    for what in parts[: parts.index(until) + 1]:
        loop.act(what)
    loop.optimizer.noise_multiplier = 2 * HUGE
    for what in parts[parts.index(until) + 1 :]:
        loop.act(what)
    loop.act("inner step")
    loop.look()
    for what in ("draw", "backward", "step"):
        loop.act(what)
        loop.look()
    assert [release.noise_multiplier for release in loop.engine.ledger.releases] == [HUGE, 2 * HUGE]


@pytest.mark.parametrize("pieces", [0, 1])
def test_a_piece_without_a_pass_is_refused_where_it_stands(pieces: int) -> None:
    loop = Loop(secure=False, pieces=True)
    loader = loop.optimizer.loader
    for _ in range(pieces):
        loop.act("backward")
        loop.act("step")
        loop.act("draw")
    assert not loader.physical_batch.is_last
    before = loop.phase
    with refused("without captured gradients"):
        loop.act("step")
    assert loop.phase == before
    while True:
        loop.act("backward")
        loop.act("step")
        if loader.physical_batch.is_last:
            break
        loop.act("draw")
    loop.look()
    assert loop.engine.ledger.steps == 1


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["before the batch is used up", "in the noise"])
def test_a_step_that_fails_after_its_record_is_empty_and_says_that_it_is_spent(
    error: type[BaseException], place: str
) -> None:
    loop = Loop(secure=False, pieces=False)
    loop.act("backward")
    owner, name = {
        "before the batch is used up": (loop.optimizer.loader, "mark_consumed"),
        "in the noise": (loop.optimizer.private_step.sum, "add_noise"),
    }[place]
    real, calls = getattr(owner, name), []

    def fails_at_first(*words: int) -> None:
        calls.append(words)
        if len(calls) == 1:
            raise error("why")
        real(*words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, fails_at_first)
        with pytest.raises(error, match="why") as caught:
            loop.act("step")
    assert "recorded in the ledger before it failed, and its batch is used up" in caught.value.__notes__[0]
    assert (loop.phase, loop.engine.ledger.steps) == ("EMPTY", 1)
    assert loop.optimizer.batch_is_consumed
    loop.look()
    for what in ("backward", "clip"):
        loop.act(what)
    with refused("on one already used"):
        loop.act("noise")
    loop.act("drop")
    for what in ("draw", "backward", "step"):
        loop.act(what)
        loop.look()
    assert loop.engine.ledger.steps == 2
