"""Pictures out of updates: one X-ray, a secure sum of five, an imprint layer, and a net closer to practice.

Seconds are those of the processor, since the machine may be shared; its load stands beside them.
"""

import os
import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import Comparison
from quintain.core.statistics import psnr
from quintain.data import Dataset, load_data
from quintain.evaluate.leaks.job import LeakJob, LeakTarget
from quintain.evaluate.leaks.pictures import measure
from quintain.evaluate.leaks.update_settings import SETTINGS, UpdateSetting
from quintain.leakage import LeakageAttack, invert_gradient
from quintain.leakage.local_steps import ONE_STEP, site_update
from quintain.leakage.updates.fedavg_inversion import FedAvgInversion
from quintain.leakage.updates.gradient_inversion import GradientInversion
from quintain.leakage.updates.imprint import ImprintLayer
from quintain.models import Classifier, xray_cnn
from quintain.training import Recipe, fit

STEPS, SEEDS = 800, 7
SUM_STEPS, SUMS = 400, 20
PEER_TV = (1e-4, 0.2)
"""Weights of total variation: ours, and the peer's default."""


def run() -> Iterator[Comparison]:
    """One line for each question."""
    data = load_data("xrays").train
    members = data.subset(range(2000))
    public = data.subset(range(2000, 4000))
    net = xray_cnn().eval()
    yield from _single(net, members, public)
    sums = [one for one in SETTINGS if one.sites == 5 and one.examples == 1]
    yield from _table(net, ImprintLayer(), members, public, [*sums, SETTINGS[7]], SUMS)
    trained = xray_cnn()
    fit(trained, public, Recipe(epochs=5))
    honest = GradientInversion(steps=SUM_STEPS, tv_weights=(1e-4, 0.03))
    yield from _table(
        trained.eval(), honest, members, public, [SETTINGS[0], SETTINGS[3], SETTINGS[7]], 4, "trained "
    )
    yield from _table(trained, FedAvgInversion(steps=100), members, public, [SETTINGS[7]], 4, "trained ")
    yield from _table(
        net,
        honest,
        members,
        public,
        [one for one in sums if one.clip is None and one.pins == "nothing"],
        SUMS,
    )


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def _single(net: nn.Module, members: Dataset, public: Dataset) -> Iterator[Comparison]:
    """Rebuild one X-ray from its gradient, and do the same with the peer."""
    mean = public.tensors[0].mean(0)
    rows = np.random.default_rng(0).permutation(len(members))[:SEEDS]
    pairs = [members.batch([row]) for row in rows]
    means = [_psnr(mean, x[0]) for x, _ in pairs]

    def ours(seed: int) -> Tensor:
        x, y = pairs[seed]
        update = site_update(net, x, y, ONE_STEP)
        return invert_gradient(net, update, x.shape[1:], steps=STEPS, seed=seed).image

    yield Comparison(f"one X-ray, ours, {STEPS} steps", _summary(ours, pairs, means))
    try:
        import breaching  # noqa: F401
    except ImportError:
        yield Comparison("one X-ray, breaching", "not installed")
        return
    for weight in PEER_TV:
        yield Comparison(
            f"one X-ray, breaching, {STEPS} steps, total variation {weight:g}",
            _summary(lambda seed, weight=weight: _breaching(net, *pairs[seed], weight), pairs, means),
        )


def _summary(rebuild, pairs, means: Sequence[float]) -> str:  # type: ignore[no-untyped-def]
    """Return quality and processor seconds of each picture, in one line."""
    seconds, found = [], []
    for seed, (x, _) in enumerate(pairs):
        clock = time.process_time()
        image = rebuild(seed)
        seconds.append(time.process_time() - clock)
        found.append(_psnr(image, x[0]))
    return (
        f"{_middle(found)} dB, mean image {_middle(means)} dB; {_middle(seconds)} s of the processor "
        f"(median, min to max of {len(pairs)}); {_load()}"
    )


def _middle(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def _psnr(image: Tensor, original: Tensor) -> float:
    return psnr(float((image.detach().clamp(0, 1).double() - original.double()).square().mean()))


class _Gray(nn.Module):
    """A net of gray pictures that takes three colors, which the peer's total variation needs."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.mean(1, keepdim=True))


def _breaching(net: nn.Module, x: Tensor, y: Tensor, weight: float) -> Tensor:
    """Rebuild a picture with breaching's attack of the same paper."""
    import breaching

    warnings.simplefilter("ignore")
    gray, loss = _Gray(net).eval(), nn.CrossEntropyLoss()
    gradient = torch.autograd.grad(loss(gray(x.expand(-1, 3, -1, -1)), y), list(gray.parameters()))
    settings = breaching.get_config(
        overrides=[
            "attack=invertinggradients",
            f"attack.optim.max_iterations={STEPS}",
            f"attack.regularization.total_variation.scale={weight}",
            "attack.label_strategy=iDLG",
        ]
    )
    metadata = SimpleNamespace(
        shape=(3, *x.shape[2:]),
        classes=2,
        modality="vision",
        task="classification",
        mean=[0.0] * 3,
        std=[1.0] * 3,
    )
    setup = {"device": torch.device("cpu"), "dtype": torch.float}
    attack = breaching.attacks.prepare_attack(gray, loss, settings.attack, setup)
    sent = {"num_data_points": 1, "labels": None, "local_hyperparams": None, "data_key": "inputs"}
    found, _ = attack.reconstruct(
        [{"parameters": list(gray.parameters()), "buffers": list(gray.buffers()), "metadata": metadata}],
        [{"gradients": list(gradient), "buffers": None, "metadata": sent}],
        {},
    )
    return found["data"][0].mean(0, keepdim=True)


def _table(
    net: nn.Module,
    attack: LeakageAttack,
    members: Dataset,
    public: Dataset,
    settings: Sequence[UpdateSetting],
    updates: int,
    words: str = "",
) -> Iterator[Comparison]:
    """Measure an attack on settings, one line each."""
    for setting in settings:
        target = LeakTarget(Classifier(net, num_classes=2), "X-ray net")
        job = LeakJob(target, [attack], members, public, candidates=updates * setting.num_pictures)
        clock = time.process_time()
        found = measure(job, [setting], max_updates=updates).measurements
        seconds = time.process_time() - clock
        if not found:
            continue
        share, quality, _ = found
        yield Comparison(
            f"{attack.name}, {words}net, {setting.title}",
            f"{share.value * share.count:.0f} of {share.count} pictures rebuilt ({share.low:.1%} to "
            f"{share.high:.1%} at 95 %), by the same attack without them {share.baseline:.1%}; "
            f"{quality.value:.1f} dB where {quality.baseline:.1f} dB are known without; {share.candidates}; "
            f"{seconds:.0f} s of the processor; {_load()}",
        )
