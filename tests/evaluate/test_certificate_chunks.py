"""Certificates in chunks: what is kept of a run that is cut off, and what comes out the same."""

import numpy as np
import pytest
import torch

from quintain.certify import IntervalBounds, RandomizedSmoothing
from quintain.core.errors import RunFolderError
from quintain.evaluate.certificate_chunks import CertificateStore, certify_in_chunks
from quintain.evaluate.certify import certify_examples
from quintain.evaluate.evasion.checkpoint import delete_chunks
from quintain.evaluate.pacing import Pace
from quintain.evaluate.smoothing import SmoothingSettings, certify_smoothed
from quintain.threats import L2
from tests.evaluate.support.attacked import SIZES
from tests.evaluate.support.attacked import points as small_points
from tests.evaluate.support.attacked import subject as small_subject
from tests.evaluate.support.halfspace import halfspace, points

SETTINGS = SmoothingSettings(RandomizedSmoothing(0.25, 500), 0, vote_samples=100, steps=2)


@pytest.fixture
def one_by_one(monkeypatch):
    """Make every chunk one of three examples, and cut the run off after so many of them."""

    real = CertificateStore.put

    def begin(chunks):
        left = [chunks]

        def put(self, chunk):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            real(self, chunk)

        monkeypatch.setattr(CertificateStore, "put", put)

    monkeypatch.setattr(Pace, "next_size", lambda _self, left: min(3, left))
    return begin


def smoothed(folder=None, seed=5, settings=SETTINGS):
    return certify_smoothed(halfspace(), points(20), [L2(0.1)], settings, seed=seed, checkpoint_dir=folder)


def interval(folder=None):
    return certify_examples(
        small_subject(), small_points(), SIZES, IntervalBounds(), method="interval", checkpoint_dir=folder
    )


def test_smoothing_that_was_cut_off_goes_on_and_comes_to_the_same_bit_for_bit(tmp_path, one_by_one):
    whole = smoothed()
    one_by_one(2)
    with pytest.raises(KeyboardInterrupt, match=r"^certificates of 6 of 20 examples$"):
        smoothed(tmp_path)
    one_by_one(100)
    again = smoothed(tmp_path)
    assert again[1].examples == whole[1].examples
    assert again[2] == whole[2]
    assert len(list(tmp_path.glob("certified-*.npz"))) == 7
    delete_chunks(tmp_path)
    assert not tmp_path.exists()


def test_interval_bounds_that_were_cut_off_go_on(tmp_path, one_by_one):
    whole = interval()
    one_by_one(4)
    with pytest.raises(KeyboardInterrupt, match=r"^certificates of 12 of 60 examples$"):
        interval(tmp_path)
    one_by_one(100)
    again = interval(tmp_path)
    assert again.assumptions == whole.assumptions
    assert again.examples.certified_radius == pytest.approx(whole.examples.certified_radius, abs=1e-6)
    assert any(radius > 0 for radius in again.examples.certified_radius)


def test_certificates_of_other_settings_are_refused_by_the_difference(tmp_path, one_by_one):
    one_by_one(2)
    with pytest.raises(KeyboardInterrupt):
        smoothed(tmp_path)
    with pytest.raises(RunFolderError, match="seed = 5, now 6"):
        smoothed(tmp_path, seed=6)
    other = SmoothingSettings(RandomizedSmoothing(0.5, 500), 0, vote_samples=100, steps=2)
    with pytest.raises(RunFolderError, match="certifier = "):
        smoothed(tmp_path, settings=other)


def test_a_damaged_chunk_is_named(tmp_path, one_by_one):
    one_by_one(2)
    with pytest.raises(KeyboardInterrupt):
        smoothed(tmp_path)
    path = sorted(tmp_path.glob("certified-*.npz"))[0]
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(RunFolderError, match="damaged; delete it"):
        smoothed(tmp_path)


def test_without_a_store_nothing_is_kept_and_nothing_is_split():
    asked = []

    def certify(rows):
        asked.append(len(rows))
        if len(asked) > 1:
            raise KeyboardInterrupt
        outcome = halfspace().model
        x, y = points(20).batch(rows)
        return RandomizedSmoothing(0.25, 100).derive(outcome).certify(x, y, ids=torch.from_numpy(rows))

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        certify_in_chunks(certify, 20, batch_size=15)
    assert asked == [15, 5]
    found = certify_in_chunks(lambda rows: certify(asked.clear() or rows), 20, batch_size=20)
    assert found.rows.tolist() == list(range(20))
    assert np.isfinite(found.radius).all()
