r"""Canaries for audits of private training: each has one coordinate of the update to itself.

``CanaryNet`` wraps the user's net and has one extra weight :math:`w_i` per canary. A canary is a blank image
with a marker in one extra row below it. For a canary the logits depend on :math:`w_i` alone, so that the
user's net gets no gradient. The logit of the wrong class starts at 20, so that the softmax is saturated and
the gradient of the loss in
:math:`w_i` is about 2C; clipping to norm C makes it exactly :math:`C e_i` (a Dirac canary): the largest
contribution that one record can make, along a coordinate that no other record touches. Canaries disturb
neither each other nor the training. A canary that is not included is replaced by a placeholder, a row without
gradient, so that the number of rows, and with it the sampling rate, does not depend on the coins.

Everything is built from Linear layers and plain arithmetic, so that the engine under audit runs unchanged: it
clips, samples and adds noise, and knows nothing of canaries.
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
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.leakage.canary_rows import decode_markers, draw_inclusion, insert_canaries
from quintain.models.adapters import forward_logits

_WRONG_LOGIT = 20.0
"""A canary's first logit of the wrong class: the softmax stays saturated, and the loss keeps its slope."""

_NORM_IN_CLIPS = 2.0
"""A canary's gradient norm before clipping, over the clip norm."""

Release = Tensor | Mapping[str, Tensor]
"""The release of one step: a flat vector in the order of ``parameters()``, or one tensor a parameter name."""


class CanaryNet(nn.Module):
    """The user's net with one extra weight for each canary.

    On the user's own images its logits do not change.

    Args:
        net: Logits (B, K) from samples (B, *S); it is used, not copied.
        canaries: m, the number of canaries, included or not.
        max_grad_norm: The clip norm C of the run to be audited.

    It takes samples with the marker row that ``insert_canaries`` adds: (B, C, H + 1, W), or (B, F + 1).
    """

    def __init__(self, net: nn.Module, *, canaries: int, max_grad_norm: float) -> None:
        super().__init__()
        if canaries < 1 or not max_grad_norm > 0:
            raise SettingError(
                f"{canaries} canaries at max_grad_norm = {max_grad_norm}; expected at least one, and a "
                "positive norm"
            )
        self.net = net
        self.canary = nn.Linear(canaries, 1, bias=False)
        self.gain = _NORM_IN_CLIPS * max_grad_norm
        self.num_classes: int | None = None
        nn.init.zeros_(self.canary.weight)

    @property
    def canaries(self) -> int:
        """m."""
        return self.canary.in_features

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, K): the net's own, or a canary's.

        The logits of canary i are ``20 + 2 C w_i`` for class 1 and 0 for the others.

        A placeholder has 20 there, without a weight.
        """
        pictures, number = decode_markers(x, self.canaries)
        logits = forward_logits(self.net, pictures)
        self.num_classes = logits.shape[1]
        # Classes 0 (a user's example) and m + 1 (a placeholder) are cut off, so that both read no weight.
        marker = nn.functional.one_hot(number, self.canaries + 2)[:, 1:-1].to(logits.dtype)
        wrong = _WRONG_LOGIT + self.gain * self.canary(marker)
        # Label 0 against logits (0, 20 + 2C w_i, 0, ...): the loss has the slope 2C softmax_1, about 2C, in
        # w_i.
        canary_logits = torch.cat([torch.zeros_like(wrong), wrong, torch.zeros_like(logits[:, 2:])], dim=1)
        return torch.where((number > 0)[:, None], canary_logits, logits)

    def canary_coordinates(self, release: Release) -> Tensor:
        """Return the canaries' coordinates (m,) of a release; in a flat vector they come last."""
        if isinstance(release, Tensor):
            return release.flatten()[-self.canaries :]
        return next(part for name, part in release.items() if name.endswith("canary.weight")).flatten()

    def gradient_norms(self, weight: Tensor | None = None) -> Tensor:
        """Compute each canary's gradient norm under cross-entropy before clipping, (m,).

        A canary whose norm is below C audits less.

        With z on the wrong one of K classes and 0 on the others that one has the probability :math:`1 / (1 +
        (K - 1) e^{-z})`, which times 2 C is the slope of the loss. It rises with the canary's weight.

        Args:
            weight: At these weights (m,), in place of the present ones.

        Raises:
            ModelError: If the net has given no logits yet, so that K is not known.
        """
        if self.num_classes is None:
            raise ModelError(
                "the net has given no logits yet, so that its number of classes is not known; expected a "
                "forward pass first"
            )
        weight = self.canary.weight.detach().flatten() if weight is None else weight
        # softmax_1 = sigmoid(z - log(K - 1)).
        return self.gain * torch.sigmoid(
            _WRONG_LOGIT + self.gain * weight.double() - math.log(self.num_classes - 1)
        )


class CanaryObserver:
    """What an adversary has seen of a training with canaries; call it with what each step releases.

    Args:
        canary_net: The net that is trained.
    """

    def __init__(self, canary_net: CanaryNet) -> None:
        self._net = canary_net
        self.observations: list[NDArray[np.float64]] = []
        self.lowest = canary_net.canary.weight.detach().min()
        """The smallest weight of any canary so far."""

    def __call__(self, _step: int, release: Release) -> None:
        """Observe what a step releases."""
        self.observations.append(self._net.canary_coordinates(release).detach().double().cpu().numpy().copy())
        self.lowest = torch.minimum(
            self.lowest, self._net.canary.weight.detach().min().to(self.lowest.device)
        )

    def state(self) -> dict[str, Tensor]:
        """Return all that was seen, as tensors, to be kept with the state of the training."""
        seen = np.array(self.observations).reshape(len(self.observations), self._net.canaries)
        return {
            "observations": torch.from_numpy(seen),
            "lowest": self.lowest,
            "num_classes": torch.tensor(self._net.num_classes or 0),
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on after what ``state`` returned, in place of what was seen since."""
        self.observations = list(state["observations"].numpy())
        self.lowest = state["lowest"].to(self.lowest)
        self._net.num_classes = int(state["num_classes"]) or None


Train = Callable[[nn.Module, Dataset, CanaryObserver], Any]


@dataclass(frozen=True, slots=True)
class CanaryRun:
    """One training run on data with canaries, as its adversary observed it.

    Args:
        observations: The release of each step on each canary's coordinate, (T, m) float64.
        included: Whether each canary was included in training, (m,).
        min_gradient_norm: Smallest gradient norm of any canary at any step. Below ``max_grad_norm`` the
            canary is not clipped to full size: the audited epsilon is still valid, but smaller than it could
                be.
        final_weights: Each canary's weight in the end (m,), which was 0 at first; None where it is not known.
    """

    observations: NDArray[np.float64]
    included: NDArray[np.bool_]
    min_gradient_norm: float
    final_weights: NDArray[np.float64] | None = None

    def scores(
        self, *, sample_rate: float, noise_multiplier: float, canary_size: float
    ) -> NDArray[np.float64]:
        """Compute each canary's score (m,), whether it was included or not: see ``log_likelihood_ratio``."""
        return log_likelihood_ratio(
            self.observations / canary_size, sample_rate=sample_rate, noise_multiplier=noise_multiplier
        )

    def last_iterate_scores(self) -> NDArray[np.float64]:
        """Compute each canary's score (m,) from the final weights alone: how far descent moved its own down.

        They bound the epsilon of what is released if no iterate but the last one is (a quantity with
        ``released="last iterate"``), which that of all iterates implies.

        Raises:
            SettingError: If the final weights are not known.
        """
        if self.final_weights is None:
            raise SettingError("a run without final weights; expected one that train_with_canaries made")
        return -self.final_weights


def log_likelihood_ratio(
    observations: NDArray[np.float64], *, sample_rate: float, noise_multiplier: float
) -> NDArray[np.float64]:
    r"""Compute the log likelihood ratio of each canary's releases, included against excluded.

    .. math:: s_i = \sum_t \ln\Big(1 - q + q\, e^{(x_{ti} - 1/2) / \sigma^2}\Big)

    It is the most powerful test for Poisson sampling at rate q and Gaussian noise of standard deviation
    :math:`\sigma`, in units of what the canary adds (Neyman and Pearson). A wrong :math:`\sigma` or q costs
    power, not validity. Without noise the score is the plain sum.

    Args:
        observations: Releases (T, m), divided by what one canary adds to its coordinate.
        sample_rate: q, the probability with which each record enters each step.
        noise_multiplier: sigma, the noise's standard deviation over the clip norm.
    """
    if not 0 < sample_rate <= 1 or noise_multiplier < 0:
        raise SettingError(
            f"sample_rate = {sample_rate}, noise_multiplier = {noise_multiplier}; expected 0 < sample_rate "
            "<= 1 and a noise of at least 0"
        )
    if noise_multiplier == 0:
        return observations.sum(axis=0)
    # Each step: log of (1 - q) N(0, s^2) + q N(1, s^2) over N(0, s^2); logaddexp for q -> 0 and large
    # exponents.
    with np.errstate(divide="ignore"):
        return np.logaddexp(
            np.log1p(-sample_rate), np.log(sample_rate) + (observations - 0.5) / noise_multiplier**2
        ).sum(axis=0)


def train_with_canaries(
    train: Train, net: nn.Module, data: Dataset, *, canaries: int = 500, max_grad_norm: float, seed: int
) -> CanaryRun:
    """Train ``net`` on ``data`` and about half of the canaries, and record what an adversary would observe.

    Args:
        train: Trains a net on a data set, in place, and calls ``observe(step, release)`` with what each step
            releases, noise included; all of the plan (sampling rate, noise, clip norm, divisor, steps) is its
            business and stays as it is without canaries.
        net: A fresh net; it becomes part of a ``CanaryNet`` and is trained.
        data: The user's examples; m rows come among them, whatever the coins say. To keep the plan's
            constants, take m examples fewer.
        canaries: m; they change nothing but their own coordinates. Their rows are random ones, so that no
            fault spares them by where a record stands.
        max_grad_norm: The plan's clip norm.
        seed: Of the coins, and of the rows.

    Returns:
        The run; give its ``scores`` and ``included`` to ``audit_one_run``. A run of the same plan without
        noise is its positive control.
    """
    canary_net = CanaryNet(net, canaries=canaries, max_grad_norm=max_grad_norm).to(
        next(net.parameters()).device
    )
    included = draw_inclusion(canaries, seed=seed)
    observer = CanaryObserver(canary_net)
    planted = insert_canaries(data, included)
    rows = np.random.default_rng(derive_seed(seed, "canaries", "rows")).permutation(len(planted))
    train(canary_net, planted.subset(rows), observer)
    if not observer.observations:
        raise SettingError("the trainer released nothing; it must call observe(step, release) once a step")
    norm = canary_net.gradient_norms(observer.lowest)
    final = canary_net.canary.weight.detach().flatten().double().cpu().numpy()
    return CanaryRun(np.stack(observer.observations), included, float(norm), final)
