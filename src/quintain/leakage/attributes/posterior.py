"""The most likely hidden value, given what a model says of the label at each value."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from quintain.core.progress import Progress, no_progress
from quintain.leakage.answers import require_model_view
from quintain.leakage.attack import Candidates, Goal, Guess
from quintain.leakage.attributes.candidates import log_odds_by_value
from quintain.leakage.attributes.imputer import train_imputer
from quintain.leakage.knowledge import Knowledge, require_attribute, require_public
from quintain.leakage.view import AttackerView


@dataclass(frozen=True, slots=True)
class AttributePosterior:
    r"""Guess the value of largest posterior probability, the model taken at its word.

    .. math:: \hat v = \arg\max_v\; p(v \mid x_{-}) \; f_y(x_{-}, v)

    with the prior of an imputer that public examples trained (it reads the rest of the example, not the
    label) and the probability f that the model gives the label y with value v in place.

    Source: Fredrikson, Lantz, Jha, Lin, Page, Ristenpart, 2014 (USENIX Security), with a trained prior.
    """

    kind: ClassVar[str] = "leak"
    name: ClassVar[str] = "attribute-posterior"
    summary: ClassVar[str] = "a hidden attribute: the value at which the model is surest of the label"
    guarantee: ClassVar[str] = "a guess: what it finds beyond an imputer is what the model gives away"
    goal: ClassVar[Goal] = "attributes"
    access: ClassVar[str] = "scores"
    needs: ClassVar[tuple[str, ...]] = ("public", "attribute")
    default_rank: ClassVar[int] = 1

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
        """Return the value of each candidate, and its posterior probability as score.

        Raises:
            SettingError: If no public examples or no attribute is known, or there are more values than
                queries.
        """
        public = require_public(knowledge, attack=self.name)
        attribute = require_attribute(knowledge, attack=self.name)
        model, x = require_model_view(view, attack=self.name), candidates.examples(attack=self.name)
        phi = log_odds_by_value(model, attribute, candidates, budget=budget, attack=self.name)
        imputer = train_imputer(public, attribute, use_label=False, seed=seed, progress=progress)
        prior = imputer.log_probabilities(x, candidates.y)
        posterior = (prior + torch.nn.functional.logsigmoid(phi)).softmax(1)
        scores, labels = posterior.max(1)
        return Guess(scores=scores, labels=labels, queries=float(phi.shape[1]))
