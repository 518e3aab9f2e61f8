"""What every attack is made from: it says what it needs and serves, and how it searches; the rest is the same for all."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.goal import Goal
from quintain.attacks.outcome import AttackOutcome, Model
from quintain.attacks.search import Search
from quintain.core.errors import DataError, ModelError, SettingError
from quintain.core.registry import entries
from quintain.core.tokens import kind_of
from quintain.models.protocol import Access
from quintain.threats.ball import Ball, require_inside, require_types
from quintain.threats.draw import draws

ACCESS: tuple[Access, ...] = ("labels", "scores", "gradients")
"""What a model gives, the least first."""


class Method(ABC):
    """An attack on each example of a batch: a frozen dataclass of its settings that says how to ``pursue`` a search.

    Attributes:
        name: As it is registered.
        access: What it needs of the model.
        serves: The kinds of threats that it can keep to.
        smallest: Whether it seeks the smallest change, up to the threat's ``eps``, and not only a break.
        aims: Whether it can be given targets.
    """

    __slots__ = ()

    name: ClassVar[str]
    access: ClassVar[Access] = "gradients"
    serves: ClassVar[tuple[str, ...]] = ("linf", "l2")
    smallest: ClassVar[bool] = False
    aims: ClassVar[bool] = True

    @property
    def label(self) -> str:
        """What its breaks are credited to, within an ensemble."""
        return self.name

    def asked(self, model: Model) -> Model:
        """What is asked in place of the model: the model itself, unless an attack is made for another view of it."""
        return model

    @abstractmethod
    def pursue(self, search: Search) -> None:
        """Search; what was asked of ``search`` is judged and kept there."""

    @torch.inference_mode(False)
    @torch.no_grad()
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
        """Attack each example of a batch.

        Args:
            model: Gives logits (B, K); it is asked for values and input gradients only and is left as it was.
            x: Inputs (B, *S) in the threat's box.
            y: True classes (B,) long.
            threat: What may be changed.
            seed: Every random number comes from it, the attack's name, the restart and the example's id.
            ids: The examples' numbers in their data set (B,); 0, 1, 2 ... if not given.
            targets: Classes to be answered (B,) long, none of them the true one; any wrong class if not given.
            queries: How often the model may be asked about an example, the final check included; no limit if not given.
            safe: Examples (B,) bool that no allowed change can break: nothing is asked about them, and they stay as they are.

        Raises:
            SettingError: If the threat is none that this attack serves, it cannot aim, or the budget is below 2.
            DataError: If inputs lie outside the box, or labels, targets or ``safe`` do not fit.
            ModelError: If the model does not give what the attack needs.
        """
        require_types(threat, x)
        require_access(self.name, self.access, model)
        self.require(threat, targets, queries)
        require_inside(threat, x)
        require_labels("labels", y, x)
        if targets is not None:
            require_labels("targets", targets, x)
            if (targets == y).any():
                row = int((targets == y).nonzero()[0])
                raise DataError(f"example {row} has target {int(y[row])}, its own label; give a class that would be wrong")
        if safe is not None and (safe.shape != y.shape or safe.dtype != torch.bool):
            raise DataError(f"safe of shape {tuple(safe.shape)} and {safe.dtype}; expected ({len(x)},) torch.bool, one per input")
        x = x.detach().clone()
        draw, goal, asked = draws(x, seed, ids).at(self.name), Goal(y, targets), self.asked(model)
        search = Search(asked, x, goal, threat, draw, name=self.name, smallest=self.smallest, queries=queries, safe=safe)
        self.pursue(search)
        return search.outcome()

    def require(self, threat: Ball, targets: Tensor | None = None, queries: int | None = None) -> None:
        """Refuse what this attack cannot do.

        Raises:
            SettingError: If so; the message names attacks that can.
        """
        kind = kind_of(threat.token)
        if kind not in self.serves:
            raise SettingError(
                f"{self.name} cannot keep to {threat.token}; it serves {', '.join(self.serves)}. Attacks for {kind}: {serving(kind)}"
            )
        if targets is not None and not self.aims:
            raise SettingError(f"{self.name} cannot be given targets; it seeks any wrong answer. Leave them out, or take another attack")
        if queries is not None and queries < 2:
            raise SettingError(f"queries = {queries}; expected at least 2, one for the unchanged input and one for the final check")


def require_access(name: str, needed: Access, model: Model) -> None:
    """Refuse a model that says that it gives less than an attack needs.

    Raises:
        ModelError: If so; the message names attacks that can do with what there is.
    """
    given: Access = getattr(model, "access", "gradients")
    if ACCESS.index(given) < ACCESS.index(needed):
        able = [entry.name for entry in entries("attack").values() if ACCESS.index(access_of(entry.fact("access"))) <= ACCESS.index(given)]
        raise ModelError(f"{name} needs {needed}, and the model gives {given} only. Attacks that can: {', '.join(able) or 'none'}")


def require_labels(what: str, y: Tensor, x: Tensor) -> None:
    """Refuse classes that are not one integer an input.

    Raises:
        DataError: If so, or if they are no tensor.
    """
    if not isinstance(y, Tensor):
        raise DataError(f"{what} in a {type(y).__name__}; expected a tensor ({len(x)},) of torch.int64: torch.as_tensor(y)")
    if y.shape != x.shape[:1] or y.dtype != torch.long:
        raise DataError(f"{what} of shape {tuple(y.shape)} and {y.dtype}; expected ({len(x)},) torch.int64, one class per input")


def serving(kind: str) -> str:
    """The registered attacks that serve a kind of threat."""
    return ", ".join(entry.name for entry in entries("attack").values() if kind in entry.fact("serves").split()) or "none yet"


def access_of(fact: str) -> Access:
    """An entry's fact as a kind of access; attacks of other packages that say nothing need gradients."""
    return next((access for access in ACCESS if access == fact), "gradients")
