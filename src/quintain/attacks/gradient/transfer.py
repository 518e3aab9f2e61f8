"""Points made on models of one's own, tried on another: the attack that needs nothing of its target but one answer."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.goal import Goal
from quintain.attacks.gradient.mi_fgsm import MIFGSM
from quintain.attacks.meter import require_evaluation
from quintain.attacks.method import Method, require_access
from quintain.attacks.outcome import Model
from quintain.attacks.search import Search
from quintain.core.errors import ModelError, SettingError
from quintain.models.protocol import Access
from quintain.threats.ball import Ball


@dataclass(frozen=True, slots=True)
class Transfer(Method):
    r"""An attack on the mean of some surrogates' logits, whose result is tried on the target once.

    .. math:: z = \arg\max_{z \in threat(x)} \ell\Big(\frac1n \sum_{i=1}^n f_i(z),\, y\Big), \quad \text{asked of the target: } f(z)

    On the surrogates the attack does not stop where they are broken, but goes on to its end; of the points that it asked about, the one
    with the largest margin is taken. What the surrogates are asked is not counted: they belong to the attacker.

    It holds models, so that it is not registered by name: hand it to a call, or to an ensemble.

    Args:
        surrogates: Models of the target's classes and inputs, with gradients, in evaluation mode.
        attack: How the points are made; one that follows gradients or scores to a break.

    Raises:
        SettingError: If there is no surrogate, or the attack seeks the smallest change.
        ModelError: If a surrogate is in training mode, gives less than the attack needs, or has other classes than the target.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice, by the target; what it does not break may still be
        breakable.

    Source: Papernot et al., 2016, arXiv:1605.07277; the mean of logits: Dong et al., 2018, arXiv:1710.06081.
    """

    name: ClassVar[str] = "transfer"
    access: ClassVar[Access] = "labels"

    surrogates: tuple[Model, ...]
    attack: Method = field(default_factory=MIFGSM)

    def __post_init__(self) -> None:
        if not self.surrogates:
            raise SettingError("no surrogates; expected at least one model, such as Transfer((model,))")
        if self.attack.smallest:
            raise SettingError(
                f"{self.attack.name} seeks the smallest change, which does not carry over; expected an attack such as MIFGSM()"
            )
        for surrogate in self.surrogates:
            require_evaluation(surrogate)
            require_access(self.attack.name, self.attack.access, surrogate)

    def require(self, threat: Ball, targets: Tensor | None = None, queries: int | None = None) -> None:
        """Refuse what the attack on the surrogates cannot do."""
        self.attack.require(threat, targets, queries)

    def pursue(self, search: Search) -> None:
        """Make the points, then ask the target once."""
        rows = search.rows
        if not len(rows):
            return
        goal, draw = search.goal, search.draw.at(self.attack.name).of(rows)
        beyond = Beyond(goal.y[rows], None if goal.targets is None else goal.targets[rows])
        part = Search(self._mean, search.x[rows], beyond, search.threat, draw, name=self.attack.name)
        if part.clean_logits.shape[1] != search.clean_logits.shape[1]:
            raise ModelError(
                f"the surrogates have {part.clean_logits.shape[1]} classes and the target {search.clean_logits.shape[1]}; expected the same"
            )
        self.attack.pursue(part)
        search.scores(part.best, rows)

    def _mean(self, x: Tensor) -> Tensor:
        return torch.stack([surrogate(x) for surrogate in self.surrogates]).mean(0)


class Beyond(Goal):
    """A goal that is never reached, so that a search goes on and keeps the point of the largest margin."""

    def reached(self, logits: Tensor, rows: Tensor) -> Tensor:  # noqa: ARG002
        """No point is enough."""
        return torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
