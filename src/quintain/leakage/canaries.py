r"""Canaries that a private training run cannot hide: each has one coordinate of the update to itself.

A canary is a blank picture with a mark in one row below it. The twin of the user's net reads the mark, looks up that canary's own weight
:math:`w_i`, and answers with it alone; the user's net gets no gradient from it. Its loss is linear in :math:`w_i`, with a slope of twice
the clip norm wherever training goes, so that clipping makes its gradient exactly :math:`C e_i` (a Dirac canary): as far as a record can
push, in a direction where nothing else moves. Canaries do not disturb each other or the training. In the place of a canary that is left
out stands a ghost, a row without any gradient, so that the number of rows, and with it the sampling rate, does not depend on the coins.

Everything is built from Linear layers and plain arithmetic, so that the engine under audit runs as it is: it clips, samples and adds
noise, and knows nothing of canaries.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quintain.core.errors import ModelError, SettingError
from quintain.core.seeds import derive
from quintain.data.dataset import Dataset
from quintain.models.adapters import adapt

LABEL = 0
"""The class that all canaries are labelled with, against what the twin answers."""

_OFFSET = 20.0
"""How sure the twin is of the wrong class: the softmax stays saturated, so that the slope of the loss does not change."""

_STEEPNESS = 2.0
"""A canary's gradient norm before clipping, in clip norms."""

Release = Tensor | Mapping[str, Tensor]
"""What one step releases: the flat vector in the order of ``parameters()``, or one tensor a parameter name."""

Observe = Callable[[int, Release], None]
Train = Callable[[nn.Module, Dataset, Observe], Any]


class CanaryNet(nn.Module):
    """The user's net, with one more weight for each canary; on the user's own pictures it answers as before.

    Args:
        net: Logits (B, K) from samples (B, *S); it is used, not copied.
        canaries: m, the number of canaries, trained on or not.
        clip: The clip norm C of the run to be audited.

    Takes samples with the mark that ``plant`` adds: (B, C, H + 1, W), or (B, F + 1).
    """

    def __init__(self, net: nn.Module, *, canaries: int, clip: float) -> None:
        super().__init__()
        if canaries < 1 or not clip > 0:
            raise SettingError(f"{canaries} canaries at clip norm {clip}; expected at least one, and a positive norm")
        self.net = net
        self.canary = nn.Linear(canaries, 1, bias=False)
        self.gain = _STEEPNESS * clip
        self.classes: int | None = None
        nn.init.zeros_(self.canary.weight)

    @property
    def canaries(self) -> int:
        """m."""
        return self.canary.in_features

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K): the net's own, or for a canary ``20 + 2 C w_i`` (for a ghost 20) on the wrong class and 0 on the others."""
        pictures, number = _read(x, self.canaries)
        logits = adapt(self.net(pictures), len(pictures))
        self.classes = logits.shape[1]
        mark = nn.functional.one_hot(number, self.canaries + 2)[:, 1:-1].to(logits.dtype)
        wrong = _OFFSET + self.gain * self.canary(mark)
        own = torch.cat([torch.zeros_like(wrong), wrong, torch.zeros_like(logits[:, 2:])], dim=1)
        return torch.where((number > 0)[:, None], own, logits)

    def coordinates(self, release: Release) -> Tensor:
        """The canaries' coordinates (m,) of something with one number a parameter; in a flat vector they come last."""
        if isinstance(release, Tensor):
            return release.flatten()[-self.canaries :]
        return next(part for name, part in release.items() if name.endswith("canary.weight")).flatten()

    def norms(self, weight: Tensor | None = None) -> Tensor:
        r"""Each canary's gradient norm under cross-entropy before clipping (m,): below the clip norm it audits less.

        With z on the wrong one of K classes and 0 on the others that one has the probability :math:`1 / (1 + (K - 1) e^{-z})`, which
        times 2 C is the slope of the loss. It rises with the canary's weight.

        Args:
            weight: At these weights (m,), in place of the present ones.

        Raises:
            ModelError: If the net has given no logits yet, so that K is not known.
        """
        if self.classes is None:
            raise ModelError("the net has given no logits yet, so that its number of classes is not known; expected a forward pass first")
        weight = self.canary.weight.detach().flatten() if weight is None else weight
        return self.gain * torch.sigmoid(_OFFSET + self.gain * weight.double() - math.log(self.classes - 1))


@dataclass(frozen=True, slots=True)
class Canaried:
    """One training run on data with canaries, as its adversary saw it.

    Args:
        seen: What each step released on each canary's coordinate, (T, m) float64.
        included: Whether each canary was trained on, (m,).
        weakest: The smallest gradient norm of a canary at any step; at least the clip norm, or the audit is not at full strength (it
            stays valid).
    """

    seen: NDArray[np.float64]
    included: NDArray[np.bool_]
    weakest: float

    def scores(self, *, rate: float, noise_multiplier: float, unit: float) -> NDArray[np.float64]:
        """Each canary's score (m,), whether it was trained on or not: see ``log_likelihood_ratio``."""
        return log_likelihood_ratio(self.seen / unit, rate=rate, noise_multiplier=noise_multiplier)


def log_likelihood_ratio(seen: NDArray[np.float64], *, rate: float, noise_multiplier: float) -> NDArray[np.float64]:
    r"""How much likelier each canary's releases are if it was trained on, by the plan's own constants.

    .. math:: s_i = \sum_t \ln\Big(1 - q + q\, e^{(x_{ti} - 1/2) / \sigma^2}\Big)

    The best test there is of Poisson sampling at rate q and noise of standard deviation :math:`\sigma`, in units of what the canary
    adds. A wrong :math:`\sigma` or q costs power, not validity. Without noise it is the plain sum.

    Args:
        seen: Releases (T, m), divided by what one canary adds to its coordinate.
        rate: q, with which each record enters each step.
        noise_multiplier: sigma, the noise's standard deviation over the clip norm.
    """
    if not 0 < rate <= 1 or noise_multiplier < 0:
        raise SettingError(f"rate = {rate}, noise_multiplier = {noise_multiplier}; expected 0 < rate <= 1 and a noise of at least 0")
    if noise_multiplier == 0:
        return seen.sum(axis=0)
    with np.errstate(divide="ignore"):
        return np.logaddexp(np.log1p(-rate), np.log(rate) + (seen - 0.5) / noise_multiplier**2).sum(axis=0)


def one_run_experiment(train: Train, net: nn.Module, data: Dataset, *, canaries: int = 500, clip: float, seed: int) -> Canaried:
    """Train a twin of ``net`` on ``data`` and on about half of the canaries, and keep what an adversary would see of them.

    Args:
        train: Trains a net on a data set, in place, and calls ``observe(step, release)`` with what each step releases, noise included;
            all of the plan (rate, noise, clip, divisor, steps) is its business and stays as it is without canaries.
        net: A fresh net; it becomes part of the twin and is trained.
        data: The user's examples; m rows come after them, whatever the coins say. To keep the plan's constants, take m examples fewer.
        canaries: m; they change nothing but their own coordinates.
        clip: The plan's clip norm.
        seed: Of the coins.

    Returns:
        The run; give its ``scores`` and ``included`` to ``audit_one_run``. A run of the same plan without noise is its positive control.
    """
    twin = CanaryNet(net, canaries=canaries, clip=clip).to(next(net.parameters()).device)
    included = fair_coins(canaries, seed=seed)
    seen: list[NDArray[np.float64]] = []
    lowest = twin.canary.weight.detach().min()

    def observe(_step: int, release: Release) -> None:
        nonlocal lowest
        seen.append(twin.coordinates(release).detach().double().cpu().numpy().copy())
        lowest = torch.minimum(lowest, twin.canary.weight.detach().min().to(lowest.device))

    train(twin, plant(data, included), observe)
    if not seen:
        raise SettingError("the trainer released nothing; it must call observe(step, release) once a step")
    return Canaried(np.stack(seen), included, float(twin.norms(lowest)))


def fair_coins(count: int, *, seed: int) -> NDArray[np.bool_]:
    """One independent fair coin for each canary."""
    return np.random.default_rng(derive(seed, "canaries", "coins")).random(count) < 0.5


def plant(data: Dataset, included: NDArray[np.bool_]) -> Dataset:
    """``data`` with a blank row for marks below each picture, followed by one row for each canary: itself, or a ghost.

    Args:
        data: Images (C, H, W) or vectors (F,).
        included: Which of the m canaries are trained on, (m,).

    Returns:
        ``len(data) + m`` samples (C, H + 1, W) or (F + 1,) in [0, 1]: canary i (from 0) is blank with a mark of ``(i + 1) / (m + 1)``
        in the last place of the last row, a ghost with a mark of 1.
    """
    m = len(included)
    numbers = np.where(included, np.arange(1, m + 1), m + 1)
    labels = np.concatenate([data.labels, np.full(m, LABEL)])
    source = _Planted(data, (numbers / (m + 1)).astype(np.float32))
    return Dataset(source, labels, name=f"{data.name} with {m} canaries", classes=data.classes, class_names=data.class_names)


class _Planted:
    def __init__(self, data: Dataset, marks: NDArray[np.float32]) -> None:
        self._data, self._marks = data, marks

    @property
    def shape(self) -> tuple[int, ...]:
        *outer, last = self._data.shape
        return (*outer, last + 1) if not outer else (*outer[:-1], outer[-1] + 1, last)

    def __len__(self) -> int:
        return len(self._data) + len(self._marks)

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        out = np.zeros((len(rows), *self.shape), dtype=np.float32)
        own = rows < len(self._data)
        pictures, row = _parts(out)
        pictures[own] = self._data.batch(rows[own])[0].numpy()
        row.reshape(len(rows), -1)[~own, -1] = self._marks[rows[~own] - len(self._data)]
        return out


def _parts(x: Any) -> tuple[Any, Any]:
    """Views of the samples without the mark, and of the row that holds it in its last place."""
    return (x[:, :-1], x[:, -1:]) if x.ndim == 2 else (x[..., :-1, :], x[:, -1, -1, :])


def _read(x: Tensor, canaries: int) -> tuple[Tensor, Tensor]:
    """The samples as the net takes them, and each one's canary number (B,): 0 for none, m + 1 for a ghost."""
    pictures, row = _parts(x)
    return pictures.contiguous(), (row[:, -1].double() * (canaries + 1)).round().long()
