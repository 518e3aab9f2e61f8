"""Attacks one after the other, each on the examples that still stand."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from quintain.attacks.base import Attack, check_access
from quintain.attacks.search import Search
from quintain.core.errors import SettingError
from quintain.models.protocol import Access
from quintain.threats.threat import Threat


class EnsembleBase(Attack):
    """An attack that is a plan: which attacks to run, one after the other, in one search with one budget.

    An example goes on to the next attack only if the last one did not break it; the break of each is credited
    to the attack that found it, by its ``label``; the clean input is asked about once, and a break is asked
    about again once.
    """

    __slots__ = ()

    @abstractmethod
    def plan(self, threat: Threat, classes: int) -> tuple[Attack, ...]:
        """The attacks, in order, for a threat and a model with so many classes."""

    def run(self, search: Search) -> None:
        """Run the plan on what stands; the draws of an attack depend on its place in the plan."""
        if not len(search.active_rows):
            return
        members = self.plan(search.threat, search.clean_logits.shape[1])
        for member in members:
            check_access(member.name, member.access, search.model.wrapped)
        for index, member in enumerate(members):
            if not len(search.active_rows):
                return
            branch = search.branch(search.rng.fold_in(index, member.name), name=member.label, minimum_norm=member.minimum_norm)
            member.run(branch)
            search.merge(branch)


@dataclass(frozen=True, slots=True)
class Ensemble(EnsembleBase):
    """The attacks that are given, in their order.

    Args:
        members: What to run; the cheap ones first.

    Raises:
        SettingError: If there are none.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may
        still be breakable.
    """

    name: ClassVar[str] = "ensemble"
    access: ClassVar[Access] = "labels"

    members: tuple[Attack, ...]

    def __post_init__(self) -> None:
        if not self.members:
            raise SettingError("no members; expected at least one attack, such as Ensemble((APGD(), Square()))")

    def plan(self, threat: Threat, classes: int) -> tuple[Attack, ...]:  # noqa: ARG002
        """The members."""
        return self.members

    def check_supported(self, threat: Threat, targets: Tensor | None = None, max_queries: int | None = None) -> None:
        """Refuse what a member cannot do."""
        for member in self.members:
            member.check_supported(threat, targets, max_queries)
