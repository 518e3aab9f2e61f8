"""Read threat specs such as ``linf:8/255`` and ``mask:eyeglasses:0.5``.

A spec is a name, what else the threat needs, and a size.
"""

import re

_OLD_WORD = re.compile(r"(?:(?<=[:+,])|^)(?:(?:colour|projection)(?=:|$)|place(?==))")
_NEW_WORDS = {"colour": "color", "projection": "light", "place": "position"}


def current_spec(spec: str) -> str:
    """Return the spec of a threat in today's words.

    Earlier versions wrote ``colour:``, ``projection:`` and ``place=``.
    """
    return _OLD_WORD.sub(lambda match: _NEW_WORDS[match[0]], spec.strip())


def threat_name(spec: str) -> str:
    """Return the name by which a threat is registered.

    It is ``linf`` for ``linf:8/255``, and ``mask`` for ``mask:eyeglasses:0.5``.
    """
    return spec.partition(":")[0].strip().lower()


def size_text(spec: str) -> str:
    """Return what follows the last colon: ``8/255`` of ``linf:8/255``; empty where there is none."""
    return spec.rpartition(":")[2].strip() if ":" in spec else ""


def threat_type(spec: str) -> str:
    """Return the threat spec without its size.

    It is ``linf`` for ``linf:4/255``, and ``mask:eyeglasses`` for ``mask:eyeglasses:0.5``.

    Two specs of one type differ in size only: the larger allows every change that the smaller allows.
    """
    between = spec.strip().rpartition(":")[0].partition(":")[2].strip()
    return f"{threat_name(spec)}:{between}" if between else threat_name(spec)


def parse_number(text: str) -> float:
    """Read a decimal number or a fraction such as ``8/255``.

    Raises:
        ValueError: If it is neither.
    """
    above, slash, below = text.partition("/")
    try:
        return float(above) / float(below) if slash else float(above)
    except ZeroDivisionError:
        raise ValueError(f"{text!r} divides by zero") from None
