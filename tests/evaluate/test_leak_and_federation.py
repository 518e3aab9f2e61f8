"""Reconstruction with its controls, and sites that train together."""

import numpy as np
import pytest
import torch

from quintain.core.errors import DataError
from quintain.data import load_data
from quintain.data.dataset import from_arrays
from quintain.evaluate.federation import federated_outcome
from quintain.evaluate.leak import leaked_outcome
from quintain.models.nets import mlp, xray_cnn


@pytest.fixture(scope="module")
def train():
    return load_data("xrays").part("train").subset(torch.arange(300))


@pytest.fixture(scope="module")
def leaked(train, tmp_path_factory):
    folder = tmp_path_factory.mktemp("leak")
    return folder, leaked_outcome(mlp().eval(), train, steps=60, seed=1, folder=folder)


def test_a_plain_update_gives_the_picture_away_and_a_sum_and_a_private_one_far_less(leaked):
    """The first layer of this net gives its input away in closed form, so that no search decides."""
    plain, summed, private = leaked[1].body.attempts
    assert plain.psnr > leaked[1].body.baseline.psnr + 15
    assert plain.leaks
    assert summed.psnr < plain.psnr - 15
    assert private.psnr < plain.psnr - 15
    assert [note for note in leaked[1].notes if "not rebuilt" in note] == []


def test_the_pictures_are_files_of_the_run_folder(leaked):
    folder, outcome = leaked
    pictures = [outcome.body.original, outcome.body.baseline.picture, *(one.picture for one in outcome.body.attempts)]
    from quintain.core.store import sha256_file

    assert all(sha256_file(folder / picture.path) == picture.sha256 for picture in pictures)


def test_a_net_that_came_frozen_is_attacked_all_the_same_and_stays_frozen(train, tmp_path):
    net = xray_cnn().eval().requires_grad_(False)
    body = leaked_outcome(net, train, steps=1, folder=tmp_path).body
    assert len(body.attempts) == 3
    assert not any(p.requires_grad or p.grad is not None for p in net.parameters())
    assert not net.training


def test_vectors_are_refused(tmp_path):
    data = from_arrays(np.random.default_rng(0).random((20, 9)).astype(np.float32), [0, 1] * 10)
    with pytest.raises(DataError, match="pictures"):
        leaked_outcome(torch.nn.Linear(9, 2).eval(), data, folder=tmp_path)


def test_sites_that_train_together(train, tmp_path):
    seen = federated_outcome(xray_cnn(), train, train, sites=4, rounds=3, epochs=1, folder=tmp_path)
    body = seen.body
    assert [one.number for one in body.rounds] == [1, 2, 3]
    assert all(one.exact for one in body.rounds)
    assert [len(one.dropped) for one in body.rounds] == [0, 1, 0]
    assert body.rounds[1].vectors_seen == 3
    assert sum(sum(site.classes) for site in body.sites) == len(train)
    assert len(body.sites) == 4
    assert "Bonawitz" in body.protocol
    told = [note for note in seen.notes if note.startswith(f"{body.rounds[1].dropped[0]} is in one of the sums")]
    assert len(told) == 2
    assert all("secure sums do not hide that, differential privacy does" in note for note in told)
    assert (tmp_path / body.model.path).exists()
