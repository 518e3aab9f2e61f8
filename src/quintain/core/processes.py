"""The processes that share a run, as ``torchrun`` tells each of them in its environment."""

import os


def world_size() -> int:
    """Return how many processes share the run, by ``WORLD_SIZE``; 1 if that is not set to a number."""
    return max(1, _number("WORLD_SIZE", 1))


def rank() -> int:
    """Return the number of this process among those that share the run; 0 where it is alone.

    ``RANK`` alone, without ``WORLD_SIZE``, says nothing: other tools and users set it too.
    """
    return _number("RANK", 0) if world_size() > 1 else 0


def is_first_process() -> bool:
    """Whether this process writes and prints for all that share the run."""
    return rank() == 0


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default
