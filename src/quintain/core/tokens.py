"""How tokens such as ``linf:8/255`` are read, in one place: a kind, a colon, a size."""


def kind_of(token: str) -> str:
    """The kind: ``linf`` of ``linf:8/255``."""
    return token.partition(":")[0].strip().lower()


def size_of(token: str) -> str:
    """What follows the colon: ``8/255`` of ``linf:8/255``; empty where there is none."""
    return token.partition(":")[2].strip()


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
