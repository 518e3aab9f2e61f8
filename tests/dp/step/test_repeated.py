"""A run that was cut off repeats what it released bit for bit, dropout included; with other gradients, its
noise is another, too.
"""

from itertools import islice
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import PrivacyError
from quintain.dp import PrivacyEngine

BATCH, SIGMA = 20, 50.0
SOURCES = {"key": {"secret_key": bytes(range(32))}, "seed": {"seed": 3}}


class Run:
    """A process that trains a net with dropout on pieces of batches."""

    def __init__(self, data: tuple[Tensor, Tensor], source: str, state: Path | None = None) -> None:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 40), nn.Dropout(0.5), nn.ReLU(), nn.Linear(40, 2))
        self.engine = PrivacyEngine(**SOURCES[source])
        self.net, self.optimizer, self.loader = self.engine.make_private(
            module=net,
            optimizer=torch.optim.SGD(net.parameters(), lr=0.01),
            data_loader=DataLoader(TensorDataset(*data), batch_size=BATCH),
            noise_multiplier=SIGMA,
            max_grad_norm=1.0,
            max_physical_batch_size=8,
        )
        self.released: list[Tensor] = []
        self.optimizer.attach_step_hook(
            lambda it: self.released.append(torch.cat([p.grad.flatten() for p in it.params]))
        )
        torch.manual_seed(99)
        if state is not None:
            self.engine.load_checkpoint(path=state, module=self.net, optimizer=self.optimizer)

    def steps(self, count: int) -> list[Tensor]:
        """What so many steps release."""
        self.released.clear()
        while len(self.released) < count:
            for x, y in self.loader:
                self.piece(x, y)
                if len(self.released) == count:
                    break
        return list(self.released)

    def piece(self, x: Tensor, y: Tensor) -> None:
        F.cross_entropy(self.net(x), y).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


@pytest.fixture
def state(blobs, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, list[Tensor]]:
    """What a run keeps after two steps, and what its next three release."""
    first = Run(blobs, request.getfixturevalue("source"))
    first.steps(2)
    first.engine.save_checkpoint(path=tmp_path / "state.pt", module=first.net, optimizer=first.optimizer)
    return tmp_path / "state.pt", first.steps(3)


@pytest.mark.parametrize("inside", [False, True], ids=["between steps", "inside a step"])
@pytest.mark.parametrize("source", SOURCES)
def test_a_run_that_was_cut_off_repeats_its_releases(blobs, state, source: str, inside: bool) -> None:
    path, released = state
    if inside:
        again = Run(blobs, source, path)
        for x, y in islice(again.loader, 1):
            again.piece(x, y)
        assert not again.released
    again = Run(blobs, source, path)
    for found, before in zip(again.steps(3), released, strict=True):
        assert torch.equal(found, before)


@pytest.mark.parametrize("source", ["key"])
def test_other_gradients_meet_other_noise(blobs, state, source: str) -> None:
    """Whatever makes them other: here, layers that draw from elsewhere. Equal noise would leave the
    difference of two sums bare.
    """
    path, released = state
    again = Run(blobs, source, path)
    torch.manual_seed(1)
    difference = (again.steps(1)[0] - released[0]) * BATCH / SIGMA
    expected, spread = 2**0.5, 5 / difference.numel() ** 0.5
    assert difference.square().mean().sqrt() == pytest.approx(expected, abs=spread)


@pytest.mark.parametrize("changed", ["noise_multiplier", "max_grad_norm"])
def test_the_same_sum_at_another_scale_meets_other_noise(blobs, changed: str) -> None:
    """Equal noise at two scales would leave the sum bare: all gradients are below both bounds, so that it is
    the same.
    """

    def released(value: float) -> Tensor:
        torch.manual_seed(0)
        net = nn.Linear(6, 2)
        net, optimizer, loader = PrivacyEngine(**SOURCES["key"]).make_private(
            module=net,
            optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
            data_loader=DataLoader(TensorDataset(*blobs), batch_size=BATCH),
            noise_multiplier=1.0,
            max_grad_norm=1e4,
        )
        setattr(optimizer, changed, value)
        x, y = next(iter(loader))
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
        return (
            torch.cat([p.grad.flatten() for p in optimizer.params])
            / optimizer.private_step.noise_and_clip.sum_noise_std
        )

    values = (1.0, 2.0) if changed == "noise_multiplier" else (1e4, 2e4)
    one, other = map(released, values)
    assert torch.equal(released(values[0]), one)
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) < 0.999


def test_a_tag_is_of_all_bits_and_numbers() -> None:
    stream, x = PrivacyEngine(seed=0)._random._root_stream, torch.arange(70, dtype=torch.float64)
    tags = [
        stream.tag(x, 1, 2),
        stream.tag(x, 1, 3),
        stream.tag(x, 2, 2),
        stream.tag(x[:-1], 1, 2),
        stream.tag(x + 2.0**-40, 1, 2),
    ]
    tags += [stream.derive("other").tag(x, 1, 2), stream.tag(x[:0], 1, 2)]
    assert len(set(tags)) == len(tags)
    assert stream.tag(x.clone(), 1, 2) == tags[0]
    assert PrivacyEngine(seed=0)._random._root_stream.tag(x, 1, 2) == tags[0]


def test_sums_larger_than_what_is_tagged_at_once_have_tags_of_all_their_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("quintain.dp.randomness.stream.MAX_TAG_BYTES", 64)
    stream, x = PrivacyEngine(seed=0)._random._root_stream, torch.arange(70)
    changed = x.clone()
    changed[-1] += 1
    assert stream.tag(x) == stream.tag(x.clone()) != stream.tag(changed)
    assert stream.tag(x) != stream.tag(torch.cat([x[8:16], x[:8], x[16:]]))


def test_a_state_of_no_generator_is_refused(private) -> None:
    _, optimizer, _, _ = private()
    state = optimizer.state_dict()
    for wrong in ("zz", "00", 5):
        state["privacy"]["generators"] = {"cpu": wrong}
        with pytest.raises(PrivacyError, match=r"generator for 'cpu'.*expected what state_dict\(\) gave"):
            optimizer.load_state_dict(state)
