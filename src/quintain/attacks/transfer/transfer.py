"""Transfer attacks: adversarial points of surrogate models, tried on the target model once."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.base import Attack, check_access
from quintain.attacks.counted_model import check_eval_mode
from quintain.attacks.goal import Goal
from quintain.attacks.outcome import Model
from quintain.attacks.search import Search
from quintain.attacks.transfer.mi_fgsm import MIFGSM
from quintain.core.errors import ModelError, SettingError
from quintain.models.protocol import Access
from quintain.threats.threat import Threat


@dataclass(frozen=True, slots=True)
class Transfer(Attack):
    r"""An attack on the mean of surrogates' logits, whose result is tried on the target model once.

    .. math::
        z = \arg\max_{z \in threat(x)} \ell\Big(\frac1n \sum_{i=1}^n f_i(z),\, y\Big), \quad
        \text{queried once: } f(z)

    On the surrogates the attack does not stop at a success but runs to its end; the point of the largest mean
    margin is taken. Passes of the surrogates are not counted: they belong to the attacker.

    It holds models, so that it is not registered by name: hand it to a call, or to an ensemble.

    Args:
        surrogates: Models of the target's classes and inputs, with gradients, in evaluation mode.
        attack: How the points are made; one that follows gradients or scores to a break.

    Raises:
        SettingError: If there is no surrogate, or the attack seeks the smallest change.
        ModelError: If a surrogate is in training mode, gives less than the attack needs, or has other classes
            than the target.

    Guarantee:
        Each success is allowed by the threat and was confirmed by a second forward pass of the target model.
        A failure does not show robustness.

    Source: Papernot et al., 2016, arXiv:1605.07277; the mean of logits: Dong et al., 2018, arXiv:1710.06081.
    """

    name: ClassVar[str] = "transfer"
    access: ClassVar[Access] = "labels"

    surrogates: tuple[Model, ...]
    attack: Attack = field(default_factory=MIFGSM)

    def __post_init__(self) -> None:
        if not self.surrogates:
            raise SettingError("no surrogates; expected at least one model, such as Transfer((model,))")
        if self.attack.minimum_norm:
            raise SettingError(
                f"{self.attack.name} seeks the smallest change, which does not carry over; expected an "
                "attack such as MIFGSM()"
            )
        for surrogate in self.surrogates:
            check_eval_mode(surrogate)
            check_access(self.attack.name, self.attack.access, surrogate)

    def check_supported(
        self, threat: Threat, targets: Tensor | None = None, max_queries: int | None = None
    ) -> None:
        """Raise if the attack on the surrogates does not support the threat or targets."""
        self.attack.check_supported(threat, targets, max_queries)

    def run(self, search: Search) -> None:
        """Attack the surrogates, then query the target model once."""
        rows = search.active_rows
        if not len(rows):
            return
        goal, rng = search.goal, search.rng.fold_in(self.attack.name).select(rows)
        # The goal is never reached, so that the attack runs to its end and keeps the point of the largest
        # mean margin, which then costs one query of the target model.
        unreachable = UnreachableGoal(goal.y[rows], None if goal.targets is None else goal.targets[rows])
        surrogate_search = Search(
            self._mean, search.x[rows], unreachable, search.threat, rng, name=self.attack.name
        )
        if surrogate_search.clean_logits.shape[1] != search.clean_logits.shape[1]:
            raise ModelError(
                f"the surrogates have {surrogate_search.clean_logits.shape[1]} classes "
                f"and the target model {search.clean_logits.shape[1]}; expected the same number"
            )
        self.attack.run(surrogate_search)
        search.query(surrogate_search.best, rows)

    def _mean(self, x: Tensor) -> Tensor:
        return torch.stack([surrogate(x) for surrogate in self.surrogates]).mean(0)


class UnreachableGoal(Goal):
    """A goal that no point reaches, so that a search goes on and keeps the point of the largest margin."""

    def is_adversarial(self, logits: Tensor, rows: Tensor) -> Tensor:  # noqa: ARG002
        """No point is enough."""
        return torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
