"""How tokens such as ``linf:8/255`` and ``mask:eyeglasses:0.5`` are read, in one place: a kind, what else it needs, a size."""

import re

_OLD_WORD = re.compile(r"(?:(?<=[:+,])|^)(?:(?:colour|projection)(?=:|$)|place(?==))")
_NEW_WORDS = {"colour": "color", "projection": "light", "place": "position"}


def current_spec(spec: str) -> str:
    """The text of a threat in today's words; earlier versions wrote ``colour:``, ``projection:`` and ``place=``."""
    return _OLD_WORD.sub(lambda match: _NEW_WORDS[match[0]], spec.strip())


def kind_of(token: str) -> str:
    """The kind, by which it is registered: ``linf`` of ``linf:8/255``, ``mask`` of ``mask:eyeglasses:0.5``."""
    return token.partition(":")[0].strip().lower()


def size_of(token: str) -> str:
    """What follows the last colon: ``8/255`` of ``linf:8/255``, ``0.5`` of ``mask:eyeglasses:0.5``; empty where there is none."""
    return token.rpartition(":")[2].strip() if ":" in token else ""


def ball_of(token: str) -> str:
    """What the size is a size of: ``linf`` of ``linf:8/255``, ``mask:eyeglasses`` of ``mask:eyeglasses:0.5``.

    Tokens with the same one stand for threats of which the larger allows all that the smaller does.
    """
    between = token.strip().rpartition(":")[0].partition(":")[2].strip()
    return f"{kind_of(token)}:{between}" if between else kind_of(token)


def number(text: str) -> float:
    """A decimal number or a fraction such as ``8/255``.

    Raises:
        ValueError: If it is neither.
    """
    above, slash, below = text.partition("/")
    try:
        return float(above) / float(below) if slash else float(above)
    except ZeroDivisionError:
        raise ValueError(f"{text!r} divides by zero") from None
