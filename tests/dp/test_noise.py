"""The stream against the cipher's test vector and against statistics."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from quintain.core.errors import DataError, SettingError
from quintain.dp import PoissonLoader
from quintain.dp.step.noise import AT_ONCE, Stream


def test_words_are_aes_256_in_counter_mode() -> None:
    """NIST SP 800-38A, F.5.5: encrypting zeros gives the output blocks."""
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    stream = Stream(key)
    stream._begin(0xF0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF)
    assert stream.words(2).tobytes().hex() == "0bdf7df1591716335e9a8b15c860c502"


@given(turn=st.integers(0, 2**62), count=st.integers(1, 50))
def test_a_turn_can_be_drawn_again_and_is_no_other(turn: int, count: int) -> None:
    stream, again = Stream.seeded(3, "noise"), Stream.seeded(3, "noise")
    stream.seek(turn)
    drawn = stream.words(count)
    again.words(7)
    again.seek(turn)
    assert (again.words(count) == drawn).all()
    again.seek(turn + 1)
    assert (again.words(count) != drawn).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_is_added_in_pieces_that_are_independent(dtype: torch.dtype) -> None:
    count = 3 * AT_ONCE + 5
    into = torch.ones(count, dtype=dtype)
    Stream.seeded(0).add_normal(into, 2.0)
    z = (into - 1) / 2
    assert kstest(z.numpy(), "norm").pvalue > 1e-6
    for lag in (1, AT_ONCE // 8, AT_ONCE // 4, AT_ONCE // 2):
        assert abs(float((z[lag:] * z[:-lag]).mean())) < 5 / count**0.5


def test_streams_differ_by_seed_and_place_and_secret_ones_always() -> None:
    streams = [Stream.seeded(0, "a"), Stream.seeded(1, "a"), Stream.seeded(0, "b"), Stream.secret(), Stream.secret()]
    assert len({stream.words(4).tobytes() for stream in streams}) == 5


def test_normal_numbers_are_normal() -> None:
    z = Stream.seeded(0).normal(100_001)
    assert z.shape == (100_001,)
    assert z.dtype == torch.float64
    assert kstest(z.numpy(), "norm").pvalue > 1e-6
    assert kstest((z[:50_000] * z[50_000:100_000]).sign().numpy() / 2 + 0.5, "uniform").statistic == pytest.approx(0.5, abs=0.02)


def test_records_are_drawn_at_the_rate_and_all_of_them_at_one() -> None:
    stream = Stream.seeded(0)
    sizes = [len(stream.chosen(1000, 100)) for _ in range(400)]
    assert np.mean(sizes) == pytest.approx(100, abs=5 * np.sqrt(90 / 400))
    assert np.var(sizes) == pytest.approx(90, rel=0.4)
    assert stream.chosen(7, 7).tolist() == list(range(7))


def test_a_loader_with_constants_that_do_not_fit_is_refused() -> None:
    for records, batch, steps, error in ((0, 1, 1, DataError), (5, 6, 1, SettingError), (5, 0, 1, SettingError), (5, 1, 0, SettingError)):
        with pytest.raises(error, match="expected"):
            PoissonLoader(lambda rows: rows, records=records, expected_batch_size=batch, steps_per_epoch=steps, stream=Stream.secret())
