"""Ensembles: attacks that run one after the other, each on the examples that are not broken yet."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from quintain.attacks.base import Attack, check_access
from quintain.attacks.search import Search
from quintain.core.errors import SettingError
from quintain.models.protocol import Access
from quintain.threats.threat import Threat


class EnsembleBase(Attack):
    """The base class of ensembles: attacks that run one after the other, with one query budget for all.

    An example goes on to the next attack only if no attack has broken it so far. ``found_by`` is the
    ``label`` of the attack that succeeded. The clean input is queried once for all attacks, and each success
    is confirmed once.
    """

    __slots__ = ()

    @abstractmethod
    def plan(self, threat: Threat, num_classes: int) -> tuple[Attack, ...]:
        """Return the attacks in the order in which they run, for a threat and a number of classes."""

    def run(self, search: Search) -> None:
        """Run the attacks on the active examples, each with random numbers of its place in the order."""
        if not len(search.active_rows):
            return
        # a model that gives too little for one of them is refused before the first runs
        members = self.plan(search.threat, search.clean_logits.shape[1])
        for member in members:
            check_access(member.name, member.access, search.model.wrapped)
        for index, member in enumerate(members):
            if not len(search.active_rows):
                return
            branch = search.branch(
                search.rng.fold_in(index, member.name), name=member.label, minimum_norm=member.minimum_norm
            )
            member.run(branch)
            search.merge(branch)


@dataclass(frozen=True, slots=True)
class Ensemble(EnsembleBase):
    """Attacks of your choice, in the order given.

    Args:
        members: The attacks; the cheap ones first.

    Raises:
        SettingError: If no attack is given, or a member is no attack.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.
    """

    name: ClassVar[str] = "ensemble"
    access: ClassVar[Access] = "labels"

    members: tuple[Attack, ...]

    def __post_init__(self) -> None:
        members: object = self.members  # the caller's types may be wrong
        if not (
            isinstance(members, Sequence)
            and members
            and all(isinstance(member, Attack) for member in members)
        ):
            raise SettingError(
                f"members = {members!r}; expected at least one attack, such as Ensemble((APGD(), Square()))"
            )

    def plan(self, threat: Threat, num_classes: int) -> tuple[Attack, ...]:  # noqa: ARG002
        """Return the members."""
        return self.members

    def check_supported(
        self, threat: Threat, targets: Tensor | None = None, max_queries: int | None = None
    ) -> None:
        """Raise if a member does not support the threat or targets."""
        for member in self.members:
            member.check_supported(threat, targets, max_queries)
