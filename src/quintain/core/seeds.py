"""Every seed is a pure function of where it is used: no generator is carried around, none is global."""

import hashlib


def derive_seed(seed: int, *path: str | int) -> int:
    """Derive a 63-bit seed from ``seed`` and the place of use.

    Equal places get equal seeds, others independent ones.

    Args:
        seed: The seed of the run.
        path: Where the draw happens, such as ``"pgd", restart, example``; strings and integers are told
            apart.
    """
    spelled = (f"{type(part).__name__[0]}{part}".replace("/", "//") for part in path)
    text = "/".join([str(seed), *spelled])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
