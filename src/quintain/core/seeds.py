"""Every seed is a pure function of where it is used: no generator is carried around, none is global."""

import hashlib


def derive_seed(seed: int, *path: str | int) -> int:
    """Derive a 63-bit seed from the seed of a run and the place where random numbers are drawn.

    Equal places get equal seeds, others independent ones.

    Args:
        seed: The seed of the run.
        path: The place, such as ``"pgd", restart, example``; ``1`` and ``"1"`` are different parts.
    """
    # "i" or "s" tells integers from strings, and a slash within a part is doubled, unlike those between parts
    spelled = (f"{type(part).__name__[0]}{part}".replace("/", "//") for part in path)
    text = "/".join([str(seed), *spelled])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
