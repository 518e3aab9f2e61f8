"""How laws are stated: a function that raises where one does not hold, and one that runs all of a thing's."""

from collections.abc import Callable, Collection, Iterable

import torch
from torch import Tensor

Law = tuple[str, Callable[[], None]]
"""A law's name, by which a thing is exempt from it, and the check of it on one thing."""


def require(holds: bool | Tensor, expected: str, got: str = "") -> None:
    """Raise an ``AssertionError`` where a law does not hold, also under ``python -O``.

    Args:
        holds: Whether it holds, or for each example (B,) whether it does.
        expected: What the law wants.
        got: What was seen instead; where ``holds`` is a tensor, the examples are named beside it.

    Raises:
        AssertionError: If it does not hold.
    """
    if isinstance(holds, Tensor):
        if bool(holds.all()):
            return
        failed = (~holds.flatten()).nonzero().flatten().tolist()
        named = ", ".join(map(str, failed[:8])) + (" ..." if len(failed) > 8 else "")
        number = f"{len(failed)} of {holds.numel()} examples for which it does not hold: rows {named}"
        got = f"{got}, {number}" if got else number
    elif holds:
        return
    raise AssertionError(f"expected {expected}" + (f"; got {got}" if got else ""))


def require_equal(found: Tensor, wanted: Tensor, expected: str) -> None:
    """Raise an ``AssertionError`` where two tensors are not equal, bit for bit.

    Args:
        found: What was seen.
        wanted: What it must equal, in shape and type as well.
        expected: What the law wants.

    Raises:
        AssertionError: If they differ.
    """
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        shapes = f"{tuple(found.shape)} {found.dtype} beside {tuple(wanted.shape)} {wanted.dtype}"
        raise AssertionError(f"expected {expected}; got {shapes}")
    if not torch.equal(found, wanted):
        unequal = found != wanted
        first = tuple(unequal.nonzero()[0].tolist())
        raise AssertionError(
            f"expected {expected}; got {int(unequal.sum())} of {found.numel()} numbers that differ, "
            f"the first at {first}: {found[first].item()} beside {wanted[first].item()}"
        )


def run_laws(thing: str, laws: Iterable[Law], exemptions: Collection[str] = ()) -> None:
    """Check all laws that a thing is held to, and name every one that it breaks.

    Args:
        thing: What is checked, as it is to be named.
        laws: The laws, in the order in which they are checked.
        exemptions: Names of laws that are left out, each of which has to be one of them.

    Raises:
        AssertionError: If it breaks any, or is exempt from a law that there is not.
    """
    known, broken = set(), []
    for name, check in laws:
        known.add(name)
        if name in exemptions:
            continue
        try:
            check()
        except AssertionError as error:
            broken.append(f"{name}: {error}")
        except Exception as error:
            error.add_note(f"in the law {name!r} of {thing}")
            raise
    unknown = sorted(set(exemptions) - known)
    if unknown:
        broken.append(f"exempt from {', '.join(unknown)}, which is no law here; the laws are {sorted(known)}")
    if broken:
        raise AssertionError(f"{thing} does not keep\n" + "\n".join(f"- {line}" for line in broken))


def all_of(*checks: Callable[[], None]) -> Callable[[], None]:
    """Return one check that runs several, in order."""

    def run() -> None:
        for check in checks:
            check()

    return run
