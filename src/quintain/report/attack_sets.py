"""Whether the attacks behind an upper bound are as strong as those behind another, by their names."""

from quintain.core.registry import entries
from quintain.results.bounds import Bound
from quintain.results.literals import REPLAY_OF

_WEAKEST_FIRST = ("fgsm", "bim", "pgd", "apgd", "quick", "autoattack", "strongest")
"""Each of these replaces those before it."""

_ENSEMBLES = ("quick", "autoattack", "strongest")
"""Each of these replaces any attack that is not in the order above."""


def attack_names(bound: Bound) -> tuple[str, ...]:
    """Return the names of the attacks behind an upper bound, in today's words."""
    renamed = {old: entry.name for entry in entries("attack").values() for old in entry.old_names}
    return tuple(renamed.get(name, name) for name in bound.method.split(" + "))


def is_replay(bound: Bound) -> bool:
    """Whether an upper bound rests on adversarial examples alone that were made on another model."""
    return all(name.startswith(REPLAY_OF) for name in attack_names(bound))


def missing_attacks(before: Bound, after: Bound) -> tuple[str, ...]:
    """Return which attacks of an earlier bound a later one neither has nor replaces by a stronger one.

    What both have replaces nothing: fewer attacks are weaker than more of them, whichever these are.
    """
    was, now = attack_names(before), attack_names(after)
    new = [name for name in now if name not in was]
    return tuple(name for name in was if name not in now and not any(_replaces(one, name) for one in new))


def _replaces(new: str, old: str) -> bool:
    """Whether an attack is at least as strong as another one, as far as their names tell."""
    if new.startswith(REPLAY_OF):
        return False
    if old.startswith(REPLAY_OF):
        return new == old.removeprefix(REPLAY_OF) or _replaces(new, old.removeprefix(REPLAY_OF))
    if new not in _WEAKEST_FIRST:
        return False
    if old not in _WEAKEST_FIRST:
        return new in _ENSEMBLES
    return _WEAKEST_FIRST.index(new) > _WEAKEST_FIRST.index(old)
