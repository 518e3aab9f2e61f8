"""The stream against the cipher's test vector, against statistics, and at the ends of its numbers; one
process at a time draws from it.
"""

import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, norm
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from quintain.core.errors import DataError, SettingError
from quintain.dp import PoissonLoader, PrivacyEngine
from quintain.dp.randomness.stream import CHUNK_BYTES, EDGE_BITS, RandomStream
from quintain.dp.step.noise import noisy_count
from tests.dp.support.loops import step


def test_words_are_aes_256_in_counter_mode() -> None:
    """NIST SP 800-38A, F.5.5: encrypting zeros gives the output blocks."""
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    stream = RandomStream(key)
    stream._start_cipher(0xF0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF)
    assert stream.words(2).tobytes().hex() == "0bdf7df1591716335e9a8b15c860c502"


@given(turn=st.integers(0, 2**62), count=st.integers(1, 50))
def test_a_turn_can_be_drawn_again_and_is_no_other(turn: int, count: int) -> None:
    stream, again = RandomStream.from_seed(3, "noise"), RandomStream.from_seed(3, "noise")
    stream.seek(turn)
    drawn = stream.words(count)
    again.words(7)
    again.seek(turn)
    assert (again.words(count) == drawn).all()
    again.seek(turn + 1)
    assert (again.words(count) != drawn).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_is_added_in_pieces_that_are_independent(dtype: torch.dtype) -> None:
    count = 3 * CHUNK_BYTES + 5
    into = torch.ones(count, dtype=dtype)
    RandomStream.from_seed(0).add_gaussian(into, 2.0)
    z = (into - 1) / 2
    assert kstest(z.numpy(), "norm").pvalue > 1e-6
    for lag in (1, CHUNK_BYTES // 8, CHUNK_BYTES // 4, CHUNK_BYTES // 2):
        assert abs(float((z[lag:] * z[:-lag]).mean())) < 5 / count**0.5


WIDTH = {torch.float32: 31, torch.float64: 63}
"""Bits of a word that a radius comes from."""


def by_hand(stream: RandomStream, *words: int, dtype: torch.dtype) -> RandomStream:
    """A stream whose next numbers come from a radius word and the angle 0, and which goes on with the other
    words, then with small ones.
    """
    first = np.array([words[0], 0], dtype=f"<i{dtype.itemsize}").tobytes()
    said = iter([first, *(word.to_bytes(8, "little") for word in words[1:])])

    def fill(out: bytearray, count: int) -> None:
        out[:] = next(said, b"").ljust(max(count, len(out)), b"\1")

    stream._fill = fill
    return stream


def radius(word: int, *words: int, dtype: torch.dtype) -> float:
    """What comes of a radius word and further ones."""
    z = by_hand(RandomStream.from_seed(0), word, *words, dtype=dtype).normal(2, dtype)
    assert z[1] == 0
    return float(z[0])


@pytest.mark.parametrize("dtype", WIDTH)
@pytest.mark.parametrize("zeros", [0, 1, 4, 30])
def test_radii_have_no_largest_and_no_smallest_value(dtype: torch.dtype, zeros: int) -> None:
    """Of u = 2^-k and of u = 1 - 2^-k: as long as words are zero, more are drawn."""
    further = (0,) * zeros + (1, 0)
    k = WIDTH[dtype] + 64 * (zeros + 1)
    assert radius(0, *further, dtype=dtype) == pytest.approx(math.sqrt(2 * k * math.log(2)), rel=1e-6)
    if k < 250:
        assert radius(1 << (WIDTH[dtype] - EDGE_BITS), *further, dtype=dtype) == pytest.approx(
            2 ** ((1 - k) / 2), rel=1e-6
        )


@pytest.mark.parametrize("dtype", WIDTH)
def test_radii_are_the_exact_ones_but_for_what_the_docstring_says(dtype: torch.dtype) -> None:
    width, bound = WIDTH[dtype], {torch.float32: 2.0**-14, torch.float64: 2.0**-42}[dtype]
    edge = 1 << (width - EDGE_BITS)
    inside = np.random.default_rng(0).integers(2 * edge, 2**width, 50).tolist()
    near = [
        2 * edge,
        2 * edge + 1,
        3 * edge,
        2**width - 1,
        2**width - edge,
        *(2 * edge + (1 << shift) for shift in range(width - 2)),
    ]
    with localcontext() as context:
        context.prec = 60
        for word in inside + near:
            for end in (0, 1):
                exact = (-2 * (Decimal(word - edge + end) / 2**width).ln()).sqrt()
                assert abs(radius(word, dtype=dtype) - float(exact)) <= bound * max(1, float(exact))
        for word in (0, 1, edge - 1, edge, edge + 1, 2 * edge - 1):
            share = Decimal((word % edge << 64) + 2**63) / 2 ** (width + 64)
            exact = (-2 * (share if word < edge else 1 - share).ln()).sqrt()
            assert radius(word, 2**63, dtype=dtype) == pytest.approx(
                float(exact), rel=1e-6 if dtype == torch.float32 else 1e-14
            )


@pytest.mark.parametrize("dtype", WIDTH)
def test_both_ends_follow_the_law(dtype: torch.dtype) -> None:
    """Below u = 2^-20, -ln u is exponential from there on; above 1 - 2^-20, 1 - u is uniform."""
    width, stream = WIDTH[dtype], RandomStream.from_seed(4)
    fill = stream._fill

    def short(out: bytearray, count: int) -> None:
        fill(out, count)
        if count > 8:
            words = np.frombuffer(out, dtype=f"<i{dtype.itemsize}")
            words[: len(words) // 2] &= (2 << (width - EDGE_BITS)) - 1
            words[len(words) // 2 :] = 0

    stream._fill = short
    exponential = stream.normal(4000, dtype)[:2000].double().square() / 2
    low = exponential[exponential > 1] - EDGE_BITS * math.log(2)
    high = -torch.expm1(-exponential[exponential < 1]) * 2**EDGE_BITS
    assert abs(len(low) - 1000) < 5 * math.sqrt(500)
    assert kstest(low.numpy(), "expon").pvalue > 1e-6
    assert kstest(high.numpy(), "uniform").pvalue > 1e-6


@pytest.mark.parametrize("dtype", WIDTH)
@pytest.mark.parametrize("sigma", [0.3, 0.1, 0.06])
def test_no_output_betrays_a_record_because_noise_cannot_reach_it(
    private, dtype: torch.dtype, sigma: float
) -> None:
    """A record moves a sum by 1 / sigma standard deviations. If noise ended, outputs beyond its end would
    have an infinite privacy loss: with an end at 6.66 that is a delta of 4.4e-4 at sigma = 0.3, at any
    epsilon."""
    assert norm.sf(6.66 - 1 / 0.3) == pytest.approx(4.4e-4, rel=0.02)
    net, optimizer, loader, engine = private(
        torch.nn.Linear(6, 2).to(dtype), batch=40, noise_multiplier=sigma
    )
    x, y = next(iter(loader))
    torch.nn.functional.cross_entropy(net(torch.zeros_like(x, dtype=dtype)), y).backward()
    by_hand(optimizer.private_step.stream, 0, *[0] * 10, 1, dtype=dtype)
    optimizer.step()
    end = float(net.weight.grad.flatten()[0]) * 40 / sigma
    assert norm.sf(end - 1 / sigma) < 1e-12
    assert engine.get_epsilon(1e-5) < math.inf


def test_the_count_of_adaptive_clipping_has_noise_without_an_end() -> None:
    stream = by_hand(RandomStream.from_seed(0), 0, 0, 0, 1, 0, dtype=torch.float64)
    assert noisy_count(3, 0.5, stream, secure=False) == pytest.approx(
        3 + math.sqrt(2 * (63 + 3 * 64) * math.log(2))
    )


def test_streams_differ_by_seed_and_place_and_secret_ones_always() -> None:
    streams = [
        RandomStream.from_seed(0, "a"),
        RandomStream.from_seed(1, "a"),
        RandomStream.from_seed(0, "b"),
        RandomStream.from_os_entropy(),
        RandomStream.from_os_entropy(),
    ]
    assert len({stream.words(4).tobytes() for stream in streams}) == 5


def test_normal_numbers_are_normal() -> None:
    z = RandomStream.from_seed(0).normal(100_001)
    assert z.shape == (100_001,)
    assert z.dtype == torch.float64
    assert kstest(z.numpy(), "norm").pvalue > 1e-6
    assert kstest(
        (z[:50_000] * z[50_000:100_000]).sign().numpy() / 2 + 0.5, "uniform"
    ).statistic == pytest.approx(0.5, abs=0.02)


def test_records_are_drawn_at_the_rate_and_all_of_them_at_one() -> None:
    stream = RandomStream.from_seed(0)
    sizes = [len(stream.poisson_sample(1000, 100)) for _ in range(400)]
    assert np.mean(sizes) == pytest.approx(100, abs=5 * np.sqrt(90 / 400))
    assert np.var(sizes) == pytest.approx(90, rel=0.4)
    assert stream.poisson_sample(7, 7).tolist() == list(range(7))


def test_a_loader_with_constants_that_do_not_fit_is_refused() -> None:
    for records, batch, steps, error in (
        (0, 1, 1, DataError),
        (5, 6, 1, SettingError),
        (5, 0, 1, SettingError),
        (5, 1, 0, SettingError),
    ):
        with pytest.raises(error, match="expected"):
            PoissonLoader(
                lambda rows: rows,
                num_units=records,
                expected_batch_size=batch,
                steps_per_epoch=steps,
                stream=RandomStream.from_os_entropy(),
            )


def in_a_fork(*works: Callable[[], object]) -> list[str]:
    """What a real fork of this process says of each of ``works``: its error, or "done"."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        for work in works:
            try:
                work()
                said = "done"
            except BaseException as error:
                said = f"{type(error).__name__}: {error}"
            os.write(theirs, f"{said}\n".encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as file:
        said = file.read().splitlines()
    os.waitpid(child, 0)
    return said


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("seed", [None, 3])
def test_a_fork_does_not_draw_the_batches_and_noise_of_the_process_that_made_them(
    private, seed: int | None
) -> None:
    net, optimizer, loader, engine = private(seed=seed)
    batches = iter(loader)
    step(net, optimizer, *next(batches))
    x, y = next(batches)

    def go_on() -> None:
        step(net, optimizer, x, y)

    def fork_again() -> None:
        assert "made before a fork" in in_a_fork(lambda: optimizer.private_step.stream.words(1))[0]

    def begin_anew() -> None:
        net, optimizer, loader, _ = private(seed=seed)
        step(net, optimizer, *next(iter(loader)))

    uses = (
        go_on,
        lambda: next(batches),
        lambda: list(loader),
        lambda: engine._random._root_stream.derive("noise"),
        lambda: optimizer.private_step.stream.with_key_from(bytes),
    )
    *refused, twice, anew = in_a_fork(*uses, fork_again, begin_anew)
    assert len(refused) == len(uses)
    for said in refused:
        assert said.startswith("PrivacyError: got a stream of batches or noise in process")
        assert f"that process {os.getpid()} made before a fork" in said
        assert "call make_private, after the fork" in said
    assert (twice, anew) == ("done", "done")
    go_on()
    assert optimizer.steps == 2


class Rows(Dataset):
    """Records that only workers make."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        assert torch.utils.data.get_worker_info() is not None
        return self.x[row], self.y[row]


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_forked_workers_of_a_loader_go_on_working(blobs) -> None:
    net = torch.nn.Linear(6, 2)
    plain = DataLoader(Rows(*blobs), batch_size=10, num_workers=2, multiprocessing_context="fork")
    net, optimizer, loader = PrivacyEngine().make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        data_loader=plain,
        noise_multiplier=1.0,
        max_grad_norm=1.0,
    )
    for _ in range(2):
        for x, y in loader:
            step(net, optimizer, x, y)
    assert optimizer.steps == 8


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads that are changed as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(work: Callable[[int], object], threads: int) -> list:
    """What ``work`` of each number gives, in threads that begin together."""
    start = threading.Barrier(threads)

    def begin(number: int) -> object:
        start.wait()
        return work(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(begin, range(threads)))


def test_threads_on_one_stream_draw_what_each_would_draw_alone(hasty: None) -> None:
    stream, alone = RandomStream.from_seed(1), RandomStream.from_seed(1)

    def words(of: RandomStream, turn: int) -> bytes:
        of.seek(turn)
        return b"".join(of.words(3).tobytes() for _ in range(4))

    drawn = at_once(lambda number: [words(stream, turn) for turn in range(number, 800, 4)], 4)
    for number, found in enumerate(drawn):
        assert found == [words(alone, turn) for turn in range(number, 800, 4)]


def test_threads_that_never_went_anywhere_get_different_words(hasty: None) -> None:
    stream = RandomStream.from_seed(1)
    drawn = [
        block
        for found in at_once(lambda _number: [stream.words(2).tobytes() for _ in range(500)], 4)
        for block in found
    ]
    assert len(set(drawn)) == len(drawn) == 2000


def test_threads_that_make_private_get_streams_of_their_own(hasty: None) -> None:
    engine = PrivacyEngine(seed=0)

    def keys(_number: int) -> list[bytes]:
        return [engine._random.issue("noise").words(2).tobytes() for _ in range(200)]

    drawn = [key for found in at_once(keys, 4) for key in found]
    assert len(set(drawn)) == len(drawn) == 800


def test_one_thread_at_a_time_records_and_noises_a_step(private, monkeypatch: pytest.MonkeyPatch) -> None:
    net, optimizer, loader, engine = private()
    seen: list[tuple[int, bool]] = []
    with ThreadPoolExecutor(1) as pool:

        def other() -> bool:
            free = optimizer.private_step.stream.lock.acquire(blocking=False)
            if free:
                optimizer.private_step.stream.lock.release()
            return free

        draw = RandomStream.add_gaussian

        def watched(stream: RandomStream, *drawn: object) -> None:
            seen.append((engine.ledger.steps, pool.submit(other).result()))
            draw(stream, *drawn)

        monkeypatch.setattr(RandomStream, "add_gaussian", watched)
        step(net, optimizer, *next(iter(loader)))
        assert pool.submit(other).result()
    assert seen == [(1, False)]
