"""Scores of candidates by the target's confidences beside those of shadow models, averaged over copies."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from quintain.core.progress import Progress
from quintain.leakage.answers import require_model_view
from quintain.leakage.attack import Candidates, Guess
from quintain.leakage.confidence import count_copies, query_confidences
from quintain.leakage.knowledge import Knowledge, require_shadows
from quintain.leakage.membership._shadow_fits import ShadowFit, fit_shadows
from quintain.leakage.view import AttackerView

Floats = NDArray[np.float64]

ShadowScore = Callable[[ShadowFit, Floats, NDArray[np.int64]], Floats]
"""Scores (n,) from the fit of the shadow models, the target's confidences (n,) and the candidates' columns in
the fit (n,).
"""


def mean_shadow_scores(
    view: AttackerView,
    knowledge: Knowledge,
    candidates: Candidates,
    score: ShadowScore,
    *,
    copies: int,
    budget: int,
    attack: str,
    progress: Progress,
) -> Guess:
    """Return the mean score of each candidate over its copies; larger means more likely a member.

    Args:
        view: The model that is attacked, which is queried once for each copy.
        knowledge: Holds the shadow models.
        candidates: The examples to score.
        score: Compares the target's confidences on one copy with those of the shadow models.
        copies: How many copies of each example are queried, if ``budget`` and their shape allow them.
        budget: Most queries for each candidate.
        attack: Name of the attack, for errors and the progress bar.
        progress: Shows a bar of queries.

    Raises:
        SettingError: For a number of copies or a budget out of range, or too few shadow models.
    """
    shadows = require_shadows(knowledge, attack=attack)
    x, model = candidates.examples(attack=attack), require_model_view(view, attack=attack)
    columns = shadows.columns(candidates.ids, candidates.y, attack=attack)
    num_copies = count_copies(copies, tuple(candidates.shape), budget, attack=attack)
    scores = []
    with progress.bar(attack, num_copies * len(x)) as advance:
        for number in range(num_copies):
            confidences = query_confidences(model.scores, x, candidates.y, number=number, advance=advance)
            fit = fit_shadows(shadows.confidences(number), shadows.included)
            scores.append(score(fit, confidences, columns))
    return Guess(scores=torch.from_numpy(np.mean(scores, axis=0)), queries=float(num_copies))
