"""Text as people see it, to find what is empty to the eye and what looks the same."""

import re
import unicodedata

_INKLESS = re.compile(
    r"[\N{COMBINING GRAPHEME JOINER}\N{BRAILLE PATTERN BLANK}\N{MUSICAL SYMBOL NULL NOTEHEAD}"
    r"\N{HANGUL CHOSEONG FILLER}\N{HANGUL JUNGSEONG FILLER}\N{HANGUL FILLER}\N{HALFWIDTH HANGUL FILLER}"
    r"\N{KHMER VOWEL INHERENT AQ}\N{KHMER VOWEL INHERENT AA}"
    r"\N{MONGOLIAN FREE VARIATION SELECTOR ONE}-\N{MONGOLIAN FREE VARIATION SELECTOR FOUR}"
    r"\N{VARIATION SELECTOR-1}-\N{VARIATION SELECTOR-16}\N{VARIATION SELECTOR-17}-\N{VARIATION SELECTOR-256}]"
)
"""Printable characters without ink: Unicode's default ignorable ones, and two that are blank."""
_MINUS = "\N{MINUS SIGN}"


def as_seen(text: str) -> str:
    """Return a text without what nobody sees, and with one way to write a letter, a hyphen and a blank.

    Letters of other alphabets that look the same, such as a Cyrillic o, stay apart.
    """
    # first what has no ink or no width: a mark behind it would not join its letter
    visible = "".join(one for one in _INKLESS.sub("", text) if unicodedata.category(one) != "Cf")
    letters = unicodedata.normalize("NFKC", visible)
    return " ".join("".join("-" if _is_hyphen(one) else one for one in letters).split())


def _is_hyphen(letter: str) -> bool:
    return unicodedata.category(letter) == "Pd" or letter == _MINUS
