"""A hidden value from a model's answers, weighed as a model of the attacker's own shows that they tell it."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from quintain.core.errors import DataError
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.leakage.answers import require_model_view
from quintain.leakage.attack import Candidates, Goal, Guess
from quintain.leakage.attributes.candidates import log_odds_by_value
from quintain.leakage.attributes.imputer import MIN_EXAMPLES, train_imputer
from quintain.leakage.extraction.student import Student
from quintain.leakage.hidden_attribute import HiddenAttribute
from quintain.leakage.knowledge import Knowledge, require_attribute, require_public
from quintain.leakage.view import AttackerView, ModelView

_RIDGE = 1e-3
"""Penalty on the two weights, so that they stay finite where the answers tell all values."""


@dataclass(frozen=True, slots=True)
class AttributeShadow:
    r"""Guess by a weighted sum of what an imputer and the model say, with weights learned on a shadow model.

    .. math:: \hat v = \arg\max_v\; a \ln p(v \mid x_{-}, y) + b\, \phi_y(x_{-}, v)

    with the model's log odds :math:`\phi` of the label. Half of the public examples train a net like the
    target (the shadow), the others an imputer; a and b are those of largest likelihood on the shadow's own
    training examples. Where such a net remembers the values that it was trained with, b is large, and the
    attack then finds what the target remembers of its members. The target is queried on candidates alone.

    Args:
        student: How the shadow is trained.

    Source: shadow models of Shokri, Stronati, Song, Shmatikov, 2017, arXiv:1610.05820, on the setting of
    Yeom, Giacomelli, Fredrikson, Jha, 2018, arXiv:1709.01604; baseline of Jayaraman, Evans, 2022,
    arXiv:2209.01292.
    """

    kind: ClassVar[str] = "leak"
    name: ClassVar[str] = "attribute-shadow"
    summary: ClassVar[str] = "a hidden attribute, by the answers' weight on a model of the attacker's own"
    guarantee: ClassVar[str] = "a guess: what it finds beyond an imputer is what the model gives away"
    goal: ClassVar[Goal] = "attributes"
    access: ClassVar[str] = "scores"
    needs: ClassVar[tuple[str, ...]] = ("public", "attribute")
    default_rank: ClassVar[int] = 2

    student: Student = field(default_factory=Student)

    def guess(
        self,
        view: AttackerView,
        knowledge: Knowledge,
        candidates: Candidates,
        *,
        budget: int,
        seed: int,
        progress: Progress = no_progress,
    ) -> Guess:
        """Return the value of each candidate, and its probability as score.

        Raises:
            SettingError: If no public examples or no attribute is known, or there are more values than
                queries.
            DataError: If there are too few public examples.
        """
        public = require_public(knowledge, attack=self.name)
        attribute = require_attribute(knowledge, attack=self.name)
        target, x = require_model_view(view, attack=self.name), candidates.examples(attack=self.name)
        phi = log_odds_by_value(target, attribute, candidates, budget=budget, attack=self.name)
        weights = self._weights(public, attribute, knowledge, target.device, seed, progress)
        imputer = train_imputer(public, attribute, use_label=True, seed=seed, progress=progress)
        prior = imputer.log_probabilities(x, candidates.y)
        scores, labels = torch.from_numpy(_probabilities(prior.numpy(), phi.numpy(), weights)).max(1)
        return Guess(scores=scores, labels=labels, queries=float(phi.shape[1]))

    def _weights(
        self,
        public: Dataset,
        attribute: HiddenAttribute,
        knowledge: Knowledge,
        device: torch.device,
        seed: int,
        progress: Progress,
    ) -> NDArray[np.float64]:
        """Return (a, b) of largest likelihood on the training examples of a shadow."""
        if len(public) < 2 * MIN_EXAMPLES:
            raise DataError(
                f"{len(public)} public examples; expected at least {2 * MIN_EXAMPLES}: half of them train a "
                "shadow, the others an imputer"
            )
        rows = np.random.default_rng(derive_seed(seed, "shadow", "halves")).permutation(len(public))
        half = len(public) // 2
        known, rest = public.subset(rows[:half]), public.subset(rows[half:])
        shadow = self.student.train(
            known,
            range(half),
            torch.nn.functional.one_hot(torch.from_numpy(known.labels), public.num_classes).float(),
            knowledge,
            device=device,
            seed=derive_seed(seed, "shadow"),
            progress=progress,
        )
        x, y = known.batch(np.arange(half))
        own = Candidates(y=y, ids=torch.arange(half), shape=known.shape, x=x)
        phi = log_odds_by_value(
            ModelView(shadow), attribute, own, budget=len(attribute.values), attack=self.name
        )
        imputer = train_imputer(rest, attribute, use_label=True, seed=seed, progress=progress)
        return fit_weights(imputer.log_probabilities(x, y).numpy(), phi.numpy(), attribute.read(x).numpy())


def fit_weights(
    prior: NDArray[np.float64], phi: NDArray[np.float64], values: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return (a, b) of largest likelihood of a conditional logit, with a small ridge.

    Args:
        prior: Log probabilities of an imputer (n, V).
        phi: Log odds of the label (n, V).
        values: True values (n,).
    """
    from scipy.optimize import minimize

    inputs = np.stack([prior, phi], axis=2)
    # Only differences between values count, and of the same scale one penalty fits both.
    inputs = inputs - inputs.mean(axis=1, keepdims=True)
    scale = np.maximum(np.sqrt((inputs**2).mean(axis=(0, 1))), 1e-12)
    inputs = inputs / scale
    rows = np.arange(len(values))

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = inputs @ weights
        logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        expected = (np.exp(logs)[:, :, None] * inputs).sum(axis=1)
        slope = (expected - inputs[rows, values]).mean(axis=0) + 2 * _RIDGE * weights
        return float(-logs[rows, values].mean() + _RIDGE * (weights**2).sum()), slope

    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B")
    return np.asarray(found.x / scale, dtype=np.float64)


def _probabilities(
    prior: NDArray[np.float64], phi: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the probability of each value (n, V)."""
    logits = weights[0] * prior + weights[1] * phi
    return np.asarray(np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)))
