"""A threshold of its own for each example, fitted on public examples: no shadow model is trained."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quintain.core.errors import DataError
from quintain.core.progress import Progress, no_progress
from quintain.leakage.answers import require_model_view
from quintain.leakage.attack import Candidates, Goal, Guess
from quintain.leakage.confidence import query_confidences
from quintain.leakage.knowledge import Knowledge, require_public
from quintain.leakage.view import AttackerView

MIN_PUBLIC = 20
"""Fewer public examples than this say nothing about a quantile."""

_PENALTIES = np.logspace(-4, 4, 17)
"""Of the regressions, times the number of examples; leave-one-out error chooses."""

_LOG_SQUARE_MEAN = -1.2703628454614782
"""Mean of the logarithm of a squared standard normal number: -(gamma + ln 2)."""


@dataclass(frozen=True, slots=True)
class QuantileRegression:
    r"""Score an example by its quantile among the confidences of examples like it that were not trained on.

    On public examples, which the target never saw, the confidence :math:`\phi` is regressed on the example:
    its label, and its leading principal components. A second regression, of the logarithm of squared
    residuals, gives the spread. The score is

    .. math:: \frac{\phi(x, y) - m(x, y)}{s(x, y)},

    so that one threshold on it is a threshold on :math:`\phi` for each example, at the same quantile of a
    normal law; quantiles beyond about 10 / (number of public examples) are extrapolated.

    Args:
        components: Principal components of the public examples, at most.

    Source: Bertran, Tang, Roth, Kearns, Morgenstern, Wu, 2023, arXiv:2307.03694, with ridge regressions in
    place of a net.
    """

    kind: ClassVar[str] = "leak"
    name: ClassVar[str] = "quantile-regression"
    summary: ClassVar[str] = "membership by a confidence that is high for such an example, by public examples"
    guarantee: ClassVar[str] = (
        "a witness: members rank above others as often as measured; other attacks may find more"
    )
    goal: ClassVar[Goal] = "membership"
    access: ClassVar[str] = "scores"
    needs: ClassVar[tuple[str, ...]] = ("public",)
    default_rank: ClassVar[int] = 0

    components: int = 30

    def guess(
        self,
        view: AttackerView,
        knowledge: Knowledge,
        candidates: Candidates,
        *,
        budget: int,  # noqa: ARG002
        seed: int,  # noqa: ARG002
        progress: Progress = no_progress,
    ) -> Guess:
        """Return one score for each candidate, by one query each and one for each public example.

        Raises:
            DataError: If there are fewer than ``MIN_PUBLIC`` public examples.
        """
        public = require_public(knowledge, attack=self.name)
        if len(public) < MIN_PUBLIC:
            raise DataError(
                f"{len(public)} public examples for {self.name}; expected at least {MIN_PUBLIC}, better "
                "hundreds"
            )
        x, model = candidates.examples(attack=self.name), require_model_view(view, attack=self.name)
        z, labels = public.tensors
        with progress.bar(self.name, len(x) + len(z)) as advance:
            theirs = query_confidences(model.scores, z, labels, advance=advance)
            found = query_confidences(model.scores, x, candidates.y, advance=advance)
        describe = _Description.of(z, min(self.components, len(z) // 4), public.num_classes)
        known, described = describe(z, labels), describe(x, candidates.y)
        mean, residuals = fit_ridge(known, theirs)
        floor = 1e-6 * max(1e-12, float(np.mean(residuals**2)))
        spread, _ = fit_ridge(known, np.log(residuals**2 + floor) - _LOG_SQUARE_MEAN)
        scores = (found - described @ mean) / np.exp(described @ spread / 2)
        return Guess(scores=torch.from_numpy(scores), queries=model.queries / max(1, len(x)))


@dataclass(frozen=True, slots=True)
class _Description:
    """What a regression reads of an example: a constant, its class, and its principal components."""

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    num_classes: int

    @staticmethod
    def of(z: Tensor, components: int, num_classes: int) -> "_Description":
        """Take the principal axes of public examples (n, *S), scaled to unit variance."""
        rows = z.flatten(1).double().numpy()
        mean = rows.mean(0)
        _, lengths, axes = np.linalg.svd(rows - mean, full_matrices=False)
        kept = lengths[:components] > 1e-9 * max(1e-12, float(lengths[0]))
        scaled = axes[:components][kept] * np.sqrt(len(rows)) / lengths[:components][kept, None]
        return _Description(mean, scaled, num_classes)

    def __call__(self, x: Tensor, y: Tensor) -> NDArray[np.float64]:
        """Describe examples (n, *S), (n, 1 + K + components)."""
        projected = (x.flatten(1).double().numpy() - self.mean) @ self.axes.T
        return np.hstack([np.ones((len(x), 1)), np.eye(self.num_classes)[y.numpy()], projected])


def fit_ridge(
    rows: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Fit :math:`w = \arg\min |values - rows\, w|^2 + \lambda |w|^2`, with the best penalty leave-one-out.

    Returns:
        The weights, and the leave-one-out residuals: those of a prediction from all other examples.
    """
    u, lengths, v = np.linalg.svd(rows, full_matrices=False)
    projected = u.T @ values
    best: tuple[float, NDArray[np.float64], NDArray[np.float64]] | None = None
    for penalty in _PENALTIES * len(rows):
        shrink = lengths**2 / (lengths**2 + penalty)
        # a residual left out is the residual over 1 - its leverage
        residuals = (values - u @ (shrink * projected)) / (1 - (u**2) @ shrink)
        error = float(np.mean(residuals**2))
        if best is None or error < best[0]:
            weights = v.T @ (shrink / np.maximum(lengths, 1e-300) * projected)
            best = error, weights, residuals
    assert best is not None
    return best[1], best[2]
