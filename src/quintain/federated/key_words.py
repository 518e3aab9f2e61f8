"""Keys as words that people read to each other."""

from quintain.federated.secagg.primitives import tagged_hash


def fingerprint(public: bytes) -> str:
    """Return six words to read out when keys are compared: 96 bits of the key's hash.

    Each word stands for 16 bits, in consonants and vowels that cannot be misheard easily.

    Source: Wilkerson, 2009, proquints, arXiv:0901.4016.
    """
    digest = tagged_hash("fingerprint", public)
    return "-".join(_word(int.from_bytes(digest[k : k + 2], "big")) for k in range(0, 12, 2))


def _word(bits: int) -> str:
    """Spell 16 bits: consonant, vowel, consonant, vowel, consonant, of 4, 2, 4, 2 and 4 bits."""
    consonants, vowels = "bdfghjklmnprstvz", "aiou"
    return (
        consonants[bits >> 12]
        + vowels[bits >> 10 & 3]
        + consonants[bits >> 6 & 15]
        + vowels[bits >> 4 & 3]
        + consonants[bits & 15]
    )
