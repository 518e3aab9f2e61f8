"""The base class of all attacks: an attack says what it needs and supports, and how it searches."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.goal import Goal
from quintain.attacks.outcome import AttackOutcome, Model
from quintain.attacks.search import Search
from quintain.core.errors import DataError, ModelError, SettingError
from quintain.core.registry import declared_entries
from quintain.core.threat_specs import threat_name
from quintain.models.modules import input_type
from quintain.models.protocol import ACCESS, Access, includes_access
from quintain.threats.arguments import Array, to_inputs, to_labels, to_threat
from quintain.threats.rng import example_rng
from quintain.threats.threat import Threat, check_in_box, check_types

SUCCESS_GUARANTEE = (
    "what it breaks is a witness that can be replayed; what it does not break may still be breakable"
)
MINIMUM_NORM_GUARANTEE = "what it breaks is a witness that can be replayed; no smaller change is ruled out"
"""What the result of an attack may be taken for, in the words of ``quintain list``."""


class Attack(ABC):
    """An attack on each example of a batch: a frozen dataclass of settings with a method ``run``.

    What it says of itself is written here and nowhere else: the registry, ``quintain list``, the laws and the
    tables of docs/attacks.md read it. An attack with a ``summary`` is registered.

    Attributes:
        name: The registered name.
        summary: One line for ``quintain list``.
        use_for: What to take it for, in docs/attacks.md; the summary where it is empty. A setting's name in
            braces is replaced by the name and its default, here and in ``cost``.
        cost: Its budget for an unbroken example: ``{steps} gradients``.
        access: What it needs of the model: labels, scores or gradients.
        supports: The kinds of threats that it supports.
        minimum_norm: Whether it seeks the smallest perturbation, and not only a success within the threat's
            ``eps``.
        supports_targets: Whether it can be targeted.
        default_rank: Its rank among the attacks that run where the user names none: of those that suit the
            model's access and the threat, the lowest rank runs. 0 comes last.
        min_queries: Fewest queries, on average over the unbroken examples, for its failures to count as
            evidence (docs/attacks.md has the measurement); 0 for the default of its access.
        ends_exhausted: Whether it has nothing left to try where it ends below its budget, so that
            ``min_queries`` does not apply.
        is_reference: Whether it is the one attack that trained models are compared by.
        strength: Rank in a chain of attacks, each of which finds nearly all that those of lower rank find; 0
            for an attack outside it. Two runs are compared by it.
        is_ensemble: Whether it runs several attacks.
        guarantee: What its result may be taken for; follows from ``minimum_norm``.
        optimality_gap: Relative gap to the closed-form optimum on a linear model at its default settings, by
            kind of threat, ``any`` for all others; 0.01 where nothing is said.
        test_settings: Settings for the laws, where the defaults take long.
        gap_test_settings: Settings for the laws that measure its gap.
        exemptions: Laws that it cannot keep, each with the reason.
    """

    __slots__ = ()

    kind: ClassVar[str] = "attack"
    name: ClassVar[str]
    summary: ClassVar[str]
    guarantee: ClassVar[str] = SUCCESS_GUARANTEE
    use_for: ClassVar[str] = ""
    cost: ClassVar[str] = ""
    access: ClassVar[Access] = "gradients"
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2")
    minimum_norm: ClassVar[bool] = False
    supports_targets: ClassVar[bool] = True
    default_rank: ClassVar[int] = 0
    min_queries: ClassVar[int] = 0
    ends_exhausted: ClassVar[bool] = False
    is_reference: ClassVar[bool] = False
    strength: ClassVar[int] = 0
    is_ensemble: ClassVar[bool] = False
    optimality_gap: ClassVar[Mapping[str, float]] = {}
    test_settings: ClassVar[Mapping[str, float]] = {}
    gap_test_settings: ClassVar[Mapping[str, float]] = {}
    exemptions: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls) -> None:
        cls.guarantee = MINIMUM_NORM_GUARANTEE if cls.minimum_norm else SUCCESS_GUARANTEE

    @property
    def label(self) -> str:
        """The name under which its successes are recorded in an ensemble."""
        return self.name

    def wrap_model(self, model: Model) -> Model:
        """Wrap the model before the attack, such as in EOT; by default it is left as it is."""
        return model

    @abstractmethod
    def run(self, search: Search) -> None:
        """Run the attack; the search records every candidate that it is queried with."""

    @torch.inference_mode(False)
    @torch.no_grad()
    def __call__(
        self,
        model: Model,
        x: Array,
        y: Array,
        threat: Threat | str,
        *,
        seed: int = 0,
        ids: Tensor | None = None,
        targets: Array | None = None,
        max_queries: int | None = None,
        certified: Tensor | None = None,
    ) -> AttackOutcome:
        """Attack each example of a batch.

        Args:
            model: Gives logits (B, K); only its outputs and input gradients are used, and it is left as it
                was.
            x: Inputs (B, *S) in the threat's box, a tensor or a NumPy array, which gets the model's dtype.
            y: True classes (B,), a tensor of int64 or a NumPy array of integers.
            threat: What may be changed, or its text, such as ``"linf:8/255"``.
            seed: Every random number comes from it, the attack's name, the restart and the example's id.
            ids: The examples' numbers in their data set (B,); 0, 1, 2 ... if not given.
            targets: Classes that must be predicted (B,) long, none of them the true one; any wrong class if
                not given.
            max_queries: Limit on the forward passes of each example, the clean and the confirming one
                included; no limit if not given.
            certified: Examples (B,) bool that a certificate covers: they are not attacked and cost nothing.

        Raises:
            SettingError: If the attack does not support the threat or targets, or ``max_queries`` is below 2.
            DataError: If inputs lie outside the box, or labels, targets or ``certified`` do not fit.
            ModelError: If the model does not give what the attack needs.
        """
        # invalid arguments are refused before the first query
        threat, x, y = to_threat(threat), to_inputs(x, input_type(model)), to_labels(y)
        targets = None if targets is None else to_labels(targets)
        check_types(threat, x)
        check_access(self.name, self.access, model)
        self.check_supported(threat, targets, max_queries)
        check_in_box(threat, x)
        check_class_tensor("labels", y, x)
        if targets is not None:
            check_class_tensor("targets", targets, x)
            if (targets == y).any():
                row = int((targets == y).nonzero()[0])
                raise DataError(
                    f"example {row} has target {int(y[row])}, its own label; give a class that would be wrong"
                )
        if certified is not None:
            check_certified(certified, y)
        x = x.detach().clone()
        # randomness belongs to the example and the attack, so that a batch may be split in any way
        rng, goal, wrapped = (
            example_rng(x, seed, ids).fold_in(self.name),
            Goal(y, targets),
            self.wrap_model(model),
        )
        # the search counts queries, keeps the best allowed point of each example, and confirms it at the end
        search = Search(
            wrapped,
            x,
            goal,
            threat,
            rng,
            name=self.name,
            minimum_norm=self.minimum_norm,
            max_queries=max_queries,
            certified=certified,
        )
        self.run(search)
        return search.outcome()

    def check_supported(
        self, threat: Threat, targets: Tensor | None = None, max_queries: int | None = None
    ) -> None:
        """Raise if this attack does not support the threat, the targets or the limit on queries.

        Raises:
            SettingError: If so; for a threat, the message names the attacks that support it.
        """
        kind = threat_name(threat.spec)
        if kind not in self.supports:
            raise SettingError(
                f"{self.name} does not support the threat {threat.spec}; it supports "
                f"{', '.join(self.supports)}. Attacks that support {kind}: {attacks_supporting(kind)}"
            )
        if targets is not None and not self.supports_targets:
            raise SettingError(f"{self.name} is untargeted only; leave targets out, or use another attack")
        if max_queries is not None and max_queries < 2:
            raise SettingError(
                f"max_queries = {max_queries}; expected at least 2, one for the clean input and one to "
                "confirm"
            )


def check_access(name: str, needed: Access, model: Model) -> None:
    """Raise if a model gives less access than an attack needs.

    Raises:
        ModelError: If so; the message names attacks that can do with what there is.
    """
    given: Access = getattr(model, "access", "gradients")
    if not includes_access(given, needed):
        able = [
            entry.name
            for entry in declared_entries("attack").values()
            if includes_access(given, access_of(entry.fact("access")))
        ]
        raise ModelError(
            f"{name} needs {needed}, and the model gives {given} only. Attacks that can: "
            f"{', '.join(able) or 'none'}"
        )


def check_class_tensor(what: str, y: Tensor, x: Tensor) -> None:
    """Raise if classes are not one integer per input.

    Raises:
        DataError: If so, or if they are no tensor.
    """
    if not isinstance(y, Tensor):
        raise DataError(
            f"{what} in a {type(y).__name__}; expected a tensor ({len(x)},) of torch.int64: "
            f"torch.as_tensor({'y' if what == 'labels' else what})"
        )
    if y.shape != x.shape[:1] or y.dtype != torch.long:
        raise DataError(
            f"{what} of shape {tuple(y.shape)} and {y.dtype}; expected ({len(x)},) torch.int64, one class "
            "per input"
        )


def check_certified(certified: Tensor, y: Tensor) -> None:
    """Raise if a mask of certified examples is not one boolean per label.

    Raises:
        DataError: If so, or if it is no tensor.
    """
    mask: object = certified  # the caller's types may be wrong
    if not isinstance(mask, Tensor):
        raise DataError(
            f"certified in a {type(mask).__name__}; expected a tensor ({len(y)},) of torch.bool: "
            "torch.as_tensor(certified)"
        )
    if mask.shape != y.shape or mask.dtype != torch.bool:
        raise DataError(
            f"certified of shape {tuple(mask.shape)} and {mask.dtype}; expected ({len(y)},) torch.bool, one "
            "per input"
        )


def attacks_supporting(kind: str) -> str:
    """List the registered attacks that support a kind of threat, as text."""
    return (
        ", ".join(
            entry.name for entry in declared_entries("attack").values() if kind in entry.words("supports")
        )
        or "none yet"
    )


def access_of(fact: str) -> Access:
    """Return an entry's fact as a kind of access.

    Attacks of other packages that say nothing need gradients.
    """
    return next((access for access in ACCESS if access == fact), "gradients")
