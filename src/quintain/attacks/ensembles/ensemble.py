"""Attacks one after the other, each on the examples that still stand."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.method import Access, Method, require_access
from quintain.attacks.outcome import AttackOutcome, Model
from quintain.attacks.search import Search
from quintain.core.errors import DataError, SettingError
from quintain.threats.ball import Ball
from quintain.threats.draw import draws
from quintain.threats.family import identity


class Combined(Method):
    """An attack that is a plan: which attacks to run, one after the other, in one search with one budget.

    An example goes on to the next attack only if the last one did not break it; the break of each is credited to the attack that found
    it, by its ``label``; the clean input is asked about once, and a break is asked about again once.
    """

    __slots__ = ()

    @abstractmethod
    def plan(self, threat: Ball, classes: int) -> tuple[Method, ...]:
        """The attacks, in order, for a threat and a model with so many classes."""

    def pursue(self, search: Search) -> None:
        """Run the plan on what stands; the draws of an attack depend on its place in the plan."""
        members = self.plan(search.threat, search.clean_logits.shape[1])
        for member in members:
            require_access(member.name, member.access, search.meter.model)
        for place, member in enumerate(members):
            if not len(search.rows):
                return
            part = search.branch(search.draw.at(place, member.name), name=member.label, smallest=member.smallest)
            member.pursue(part)
            search.adopt(part)

    def __call__(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        threat: Ball,
        *,
        seed: int = 0,
        ids: Tensor | None = None,
        targets: Tensor | None = None,
        queries: int | None = None,
        safe: Tensor | None = None,
    ) -> AttackOutcome:
        """Attack each example of a batch but those that are proven safe; see ``Attack``.

        Args:
            safe: Examples (B,) bool that no allowed change can break: nothing is asked about them, and they stay as they are.

        Raises:
            DataError: If ``safe`` is not one truth value an example.
        """
        if safe is None:
            return Method.__call__(self, model, x, y, threat, seed=seed, ids=ids, targets=targets, queries=queries)
        if safe.shape != x.shape[:1] or safe.dtype != torch.bool:
            raise DataError(f"safe of shape {tuple(safe.shape)} and {safe.dtype}; expected ({len(x)},) torch.bool, one per input")
        open_ = (~safe).nonzero().squeeze(1)
        names = draws(x, seed, ids).ids
        aims = None if targets is None else targets[open_]
        outcome = Method.__call__(
            self, model, x[open_], y[open_], threat, seed=seed, ids=names[open_.to(names.device)], targets=aims, queries=queries
        )
        return spread_out(outcome, open_, x, threat)


@dataclass(frozen=True, slots=True)
class Ensemble(Combined):
    """The attacks that are given, in their order.

    Args:
        members: What to run; the cheap ones first.

    Raises:
        SettingError: If there are none.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.
    """

    name: ClassVar[str] = "ensemble"
    access: ClassVar[Access] = "labels"

    members: tuple[Method, ...]

    def __post_init__(self) -> None:
        if not self.members:
            raise SettingError("no members; expected at least one attack, such as Ensemble((APGD(), Square()))")

    def plan(self, threat: Ball, classes: int) -> tuple[Method, ...]:  # noqa: ARG002
        """The members."""
        return self.members

    def require(self, threat: Ball, targets: Tensor | None = None, queries: int | None = None) -> None:
        """Refuse what a member cannot do."""
        for member in self.members:
            member.require(threat, targets, queries)


def spread_out(outcome: AttackOutcome, rows: Tensor, x: Tensor, threat: Ball) -> AttackOutcome:
    """The outcome of the batch ``x`` (B, *S) from that of some of its rows (n,): the others were asked nothing and are as they were."""

    def whole(part: Tensor, rest: Tensor) -> Tensor:
        return rest.clone().index_copy_(0, rows, part)

    none, unbroken = torch.zeros(len(x), dtype=torch.long, device=x.device), torch.full((len(x),), torch.inf, device=x.device)
    by = [""] * len(x)
    for row, name in zip(rows.tolist(), outcome.by, strict=True):
        by[row] = name
    clean = x.detach()
    return AttackOutcome(
        whole(outcome.adversarial, clean),
        whole(outcome.broken, none.bool()),
        whole(outcome.size, unbroken.double()),
        whole(outcome.forwards, none),
        whole(outcome.backwards, none),
        whole(outcome.error, none.bool()),
        tuple(by),
        whole(outcome.found, none),
        None if outcome.params is None else whole(outcome.params, identity(threat, clean)),
    )
