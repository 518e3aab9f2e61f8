"""The relative attack: does the target favor this example more than it favors examples that it never saw?"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from quintain.core.errors import SettingError
from quintain.core.progress import Progress, no_progress
from quintain.leakage.answers import require_model_view
from quintain.leakage.attack import Candidates, Goal, Guess
from quintain.leakage.confidence import log_probability, query_confidences
from quintain.leakage.knowledge import Knowledge, require_public, require_shadows
from quintain.leakage.view import AttackerView


@dataclass(frozen=True, slots=True)
class RMIA:
    r"""Score an example by the fraction of public examples whose likelihood ratio it exceeds (RMIA).

    .. math:: \mathrm{LR}(x, z) = \frac{p(x \mid \theta) / p(x)}{p(z \mid \theta) / p(z)},
              \quad \text{score} = P_z[\mathrm{LR}(x, z) \ge \gamma]

    p is the softmax probability of the example's label under the target, or its mean over the shadow models,
    of which half were trained on x and none on z. Equal fractions, such as those above all public examples,
    are ordered by the ratio of x itself, with which the fraction rises: public examples do not change the
    order, they put it on a scale that is uniform for examples that are no members.

    Args:
        gamma: How many times the ratio of a public example is to be exceeded.

    Public examples are queried like candidates, once each, and must be unknown to the target and
    to its shadow models.

    Source: Zarifzadeh, Liu, Shokri, 2024, arXiv:2312.03262.
    """

    kind: ClassVar[str] = "leak"
    name: ClassVar[str] = "rmia"
    summary: ClassVar[str] = "membership by the likelihood ratio against that of public examples"
    guarantee: ClassVar[str] = (
        "a witness: members rank above others as often as measured; other attacks may find more"
    )
    goal: ClassVar[Goal] = "membership"
    access: ClassVar[str] = "scores"
    needs: ClassVar[tuple[str, ...]] = ("public", "shadows")
    default_rank: ClassVar[int] = 0

    gamma: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.gamma < np.inf:
            raise SettingError(f"gamma = {self.gamma}; expected a positive number, such as 1 or 2")

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
        """Return one score for each candidate, by one query each and one for each public example."""
        public = require_public(knowledge, attack=self.name)
        shadows = require_shadows(knowledge, attack=self.name)
        x, model = candidates.examples(attack=self.name), require_model_view(view, attack=self.name)
        columns = shadows.columns(candidates.ids, candidates.y, attack=self.name)
        z, labels = public.tensors
        with progress.bar(self.name, len(x) + len(z)) as advance:
            theirs = query_confidences(model.scores, z, labels, advance=advance)
            found = query_confidences(model.scores, x, candidates.y, advance=advance)
        population = np.stack([query_confidences(scores, z, labels) for scores in shadows.models])
        ratios = log_probability(found) - log_mean_probability(shadows.confidences())[columns]
        limits = np.sort(log_probability(theirs) - log_mean_probability(population)) + np.log(self.gamma)
        fraction = np.searchsorted(limits, ratios, side="right") / len(limits)
        # less than one public example is worth, and rising with the ratio
        within = (1 + np.tanh(ratios / 2)) / (2 * (len(limits) + 1))
        return Guess(scores=torch.from_numpy(fraction + within), queries=model.queries / max(1, len(x)))


def log_mean_probability(confidences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of the mean probability over models (rows) of log odds (S, N)."""
    logs = log_probability(confidences)
    top = logs.max(0)
    return np.asarray(top + np.log(np.exp(logs - top).mean(0)), dtype=np.float64)
