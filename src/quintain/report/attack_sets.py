"""Whether the attacks behind an upper bound are as strong as those behind another, by their names."""

from quintain.core.registry import entries
from quintain.results.bounds import Bound
from quintain.results.literals import REPLAY_OF


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
    """Whether an attack is at least as strong as another one.

    Attacks that state a ``strength`` have an order. Of those that state none, each is replaced by any
    ensemble of the order, and by nothing else.
    """
    if new.startswith(REPLAY_OF):
        return False
    if old.startswith(REPLAY_OF):
        return new == old.removeprefix(REPLAY_OF) or _replaces(new, old.removeprefix(REPLAY_OF))
    known = entries("attack")
    if new not in known:
        return False
    stronger, weaker = (int(known[name].fact("strength", "0")) if name in known else 0 for name in (new, old))
    return stronger > weaker and (weaker > 0 or known[new].is_true("is_ensemble"))
