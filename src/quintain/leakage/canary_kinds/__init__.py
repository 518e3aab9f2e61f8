"""Kinds of canaries for trainings that are a black box: examples that a model remembers if it saw them."""

from collections.abc import Mapping
from pathlib import Path

from quintain.core.errors import UnknownNameError
from quintain.leakage.canary_kinds.blank import blank_canaries
from quintain.leakage.canary_kinds.examples import CanaryExamples, MakeCanaries
from quintain.leakage.canary_kinds.mislabeled import mislabeled_canaries
from quintain.leakage.canary_kinds.own import own_canaries
from quintain.leakage.canary_kinds.pattern import pattern_canaries

CANARY_KINDS: Mapping[str, MakeCanaries] = {
    "mislabeled": mislabeled_canaries,
    "pattern": pattern_canaries,
    "blank": blank_canaries,
}
"""Every kind by its name; the user's own canaries are those of a file."""

SPELLINGS = {"mislabelled": "mislabeled"}
"""Other spellings of a kind that are understood."""


def canary_maker(kind: str) -> tuple[str, MakeCanaries]:
    """Return the name of a kind of canaries, and the function that makes them.

    Args:
        kind: A key of ``CANARY_KINDS``, or the path of an ``.npz`` file of the user's own.

    Raises:
        UnknownNameError: If it is neither.
    """
    if kind.endswith(".npz"):
        return "own", own_canaries(Path(kind).expanduser())
    name = SPELLINGS.get(kind, kind)
    if name not in CANARY_KINDS:
        raise UnknownNameError("kind of canary", kind, [*CANARY_KINDS, "canaries.npz"])
    return name, CANARY_KINDS[name]


__all__ = ["CANARY_KINDS", "CanaryExamples", "MakeCanaries", "canary_maker"]
