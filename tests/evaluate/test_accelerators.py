"""Every step of an evaluation finds for a model on an accelerator, a fake one, what it finds on the CPU."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from quintain.attacks import PGD, Square
from quintain.certify import rounding
from quintain.core.registry import declared_entries
from quintain.data import from_arrays
from quintain.data.dataset import Dataset
from quintain.data.splits import Splits
from quintain.evaluate.evasion.adversarial import open_adversarial
from quintain.evaluate.model import EvaluatedModel, named_model
from quintain.evaluate.privacy_target import PrivacyTarget
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.attack import run_attack
from quintain.evaluate.steps.audit import run_audit
from quintain.evaluate.steps.certify import run_certify
from quintain.evaluate.steps.check import run_check
from quintain.evaluate.steps.evaluate import run_evaluate
from quintain.evaluate.steps.federate import run_federate
from quintain.evaluate.steps.harden import run_harden
from quintain.evaluate.steps.leak import run_leak
from quintain.evaluate.steps.privatize import run_privatize
from quintain.evaluate.steps.replay import run_replay
from quintain.evaluate.steps.universal import run_universal
from quintain.models import Classifier, mlp
from quintain.testing import FakeDeviceTensor, fake_device, on_device
from quintain.threats import L2, Linf
from quintain.training import Recipe, fit


def blobs(count: int, seed: int) -> Dataset:
    """Two classes of pictures of 8x8, dark ones and bright ones."""
    rng, labels = np.random.default_rng(seed), np.arange(count) % 2
    x = 0.3 + 0.3 * labels[:, None, None] + 0.1 * rng.normal(size=(count, 8, 8))
    return from_arrays(np.clip(x, 0, 1).astype(np.float32), labels, name="blobs")


TRAIN, TEST = blobs(300, 1), blobs(20, 2)
TARGET = PrivacyTarget(batch_size=20, steps=4)


@pytest.fixture(scope="module")
def trained() -> dict[str, torch.Tensor]:
    net = mlp(2, 1, 8)
    fit(net, TRAIN, Recipe(epochs=2))
    return net.state_dict()


def subject(net: nn.Module) -> EvaluatedModel:
    return named_model(Classifier(net, num_classes=2), "model", "model")


def replayed(net: nn.Module, out: Path) -> StepOutput:
    """Attack a net, and run it on what was stored."""
    attacked = run_attack(subject(net), TEST, [Linf(0.2)], {"pgd": PGD(steps=5)}, folder=out)
    kept = attacked.result.models[0].adversarial
    with open_adversarial(out / kept.path, kept.sha256) as stored:
        return run_replay(subject(net), TEST, stored, source=Path("run"))


STEPS = {
    "check": lambda net, _: run_check(Splits(name="blobs", train=TRAIN, test=TEST), Classifier(net)),
    "attack": lambda net, out: run_attack(
        subject(net), TEST, [Linf(0.1), Linf(0.2)], {"pgd": PGD(steps=5)}, folder=out
    ),
    "attack with a budget": lambda net, out: run_attack(
        subject(net), TEST, [L2(1.0)], {"square": Square()}, folder=out, max_queries=10
    ),
    "universal attack": lambda net, out: run_universal(
        subject(net),
        TRAIN,
        TEST,
        {"uap": declared_entries("universal_attack")["uap"]},
        [Linf(0.2)],
        folder=out,
        target_class=None,
        seed=0,
        num_pictures=2,
    ),
    "certify": lambda net, _: run_certify(
        subject(net), TEST, [Linf(0.02)], "interval", sigma=0.25, noise_samples=100, seed=0
    ),
    "certify by smoothing": lambda net, _: run_certify(
        subject(net), blobs(6, 3), [L2(0.1)], "smoothing", sigma=0.25, noise_samples=200, seed=0
    ),
    "evaluate": lambda net, out: run_evaluate(
        subject(net), TEST, [Linf(0.02), Linf(0.2)], {"pgd": PGD(steps=5)}, folder=out
    ),
    "attack and replay": replayed,
    "harden": lambda net, out: run_harden(net, TRAIN, TEST, "pgd-at", sigma=0.25, epochs=1, folder=out),
    "federate": lambda net, out: run_federate(net, TRAIN, TEST, sites=3, rounds=2, epochs=1, folder=out),
}
UNREPEATABLE = {
    "privatize": lambda net, out: run_privatize(
        net, blobs(60, 4), TEST, TARGET, folder=out, unfinished=out / "unfinished"
    ),
    "audit": lambda net, _: run_audit(net, TRAIN, replace(TARGET, batch_size=60), canaries=60),
    "leak": lambda net, out: run_leak(net, blobs(12, 5), steps=10, folder=out, show=True),
}
"""Steps whose noise comes from the operating system."""


@pytest.fixture
def net(trained, monkeypatch):
    """Makes the trained net on a device; certifiers then take the fake one's class of tensors."""
    monkeypatch.setattr(rounding, "PLAIN_TYPES", (*rounding.PLAIN_TYPES, FakeDeviceTensor))

    def make(device: torch.device | str) -> nn.Module:
        made = mlp(2, 1, 8)
        made.load_state_dict(trained)
        return made.to(device).eval()

    return make


def timeless(output: StepOutput) -> str:
    """All that a step found, without what the clock says and the hash of weights in a file."""
    return re.sub(r"(seconds|sha256)=[^,)]*", "", repr(output))


@pytest.mark.usefixtures("brief_diagnostics")
@pytest.mark.parametrize("name", STEPS)
def test_a_step_finds_the_same(name: str, net, tmp_path: Path) -> None:
    wanted = timeless(STEPS[name](net("cpu"), tmp_path / "cpu"))
    with fake_device() as device:
        found = timeless(on_device(STEPS[name], net(device), tmp_path / "there"))
    assert found == wanted


@pytest.mark.usefixtures("brief_plain_training")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.exhaustive] * (name == "audit")) for name in UNREPEATABLE],
)
def test_a_step_with_secret_noise_is_carried_out(name: str, net, tmp_path: Path) -> None:
    with fake_device() as device:
        assert on_device(UNREPEATABLE[name], net(device), tmp_path).result is not None
