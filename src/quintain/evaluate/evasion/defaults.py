"""The attacks that run where none was named, and the one call that attacks a batch."""

from torch import Tensor

from quintain.attacks.base import ACCESS, access_of
from quintain.attacks.facts import attack_entries
from quintain.attacks.outcome import AttackOutcome, Model
from quintain.core.errors import SettingError
from quintain.core.registry import Entry, get_entry
from quintain.models.protocol import Access
from quintain.threats import parse
from quintain.threats.threat import Threat

_FIRST: dict[Access, tuple[str, ...]] = {
    "gradients": ("quick", "apgd", "pgd"),
    "scores": ("square", "random-search"),
    "labels": ("hopskipjump", "rays", "cgba"),
}
"""The attack to run for what a model gives, the best first."""

_CURVE = ("fmn", "ddn", "fab")
"""Searches for the smallest change, by gradients: one run gives the accuracy at every size."""


def default_attacks(access: Access, kind: str) -> tuple[str, ...]:
    """Return the names of the attacks that run by default on a model that gives ``access``, at threats of a
    kind.

    With gradients, a search for the smallest change comes with the first choice, so that the curve over sizes
    is more than a staircase.

    Raises:
        SettingError: If nothing that is registered serves both.
    """
    able = {
        name: entry
        for name, entry in attack_entries().items()
        if kind in entry.fact("supports").split() and _may(entry, access)
    }
    for level in reversed(ACCESS[: ACCESS.index(access) + 1]):
        same = [name for name, entry in able.items() if access_of(entry.fact("access")) == level]
        best = next((name for name in (*_FIRST[level], *same) if name in same), None)
        if best:
            curve = [name for name in _CURVE if name in same and name != best]
            return (best, *curve[:1])
    raise SettingError(
        f"no registered attack serves {kind} on a model that gives {access}; 'quintain list attack' shows "
        "what there is"
    )


def _may(entry: Entry, access: Access) -> bool:
    return ACCESS.index(access_of(entry.fact("access"))) <= ACCESS.index(access)


def attack(
    model: Model, x: Tensor, y: Tensor, threat: Threat | str, *, seed: int = 0, ids: Tensor | None = None
) -> AttackOutcome:
    """Attack a batch with the quick ensemble, the one to begin with.

    Args:
        model: Gives logits (B, K), with gradients.
        x: Inputs (B, *S), in the threat's box.
        y: True classes (B,) long.
        threat: What may be changed, or its token, such as ``"linf:8/255"``.
        seed: Of all draws.
        ids: The examples' numbers in their data set (B,); 0, 1, 2 ... if not given.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.
    """
    ball = parse(threat) if isinstance(threat, str) else threat
    outcome: AttackOutcome = get_entry("attack", "quick").load()()(model, x, y, ball, seed=seed, ids=ids)
    return outcome
