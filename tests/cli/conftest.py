"""A small trained model and a small data set, as a user has them."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from quintain.cli.main import app
from quintain.data import load_data
from quintain.models.nets import xray_cnn
from quintain.models.weights import save_weights
from quintain.training import Recipe, fit


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Weights of a plain net, trained for a moment."""
    net = xray_cnn()
    train = load_data("xrays").split("train")
    fit(net, train.subset(torch.arange(1000)), Recipe(2))
    path = tmp_path_factory.mktemp("weights") / "plain.safetensors"
    save_weights(net, path)
    return path


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """An .npz of a few X-rays with all parts."""
    splits, path = load_data("xrays"), tmp_path_factory.mktemp("data") / "small.npz"
    arrays = {}
    for name, count in (("train", 200), ("val", 20), ("test", 30)):
        part = splits.split(name)
        rows = np.random.default_rng(0).permutation(len(part))[:count]
        x, y = part.batch(rows)
        arrays |= {
            f"{name}_images": (x[:, 0].numpy() * 255).round().astype(np.uint8),
            f"{name}_labels": y.numpy(),
        }
    np.savez(path, **arrays)
    return path


@pytest.fixture(autouse=True)
def brief(brief_plain_training, brief_diagnostics):
    """Plain trainings and diagnostics are short."""


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Run the command line in an empty folder; gives exit code, what it printed, and what it complained
    of.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
        return result.exit_code, result.stdout, result.stderr

    return run
