"""What is asked of a model, as people write it: ``robust_accuracy(linf:4/255) >= 0.70``."""

import re
from dataclasses import dataclass
from typing import Literal

from quintain.core.errors import SettingError, UnknownNameError
from quintain.results.quantity import Metric

_FORM = re.compile(
    r"\s*(?P<kind>\w+)\s*(?:\((?P<inside>[^()]*)\))?\s*(?P<relation>>=|<=)\s*(?P<value>[0-9.eE+-]+)\s*(?P<percent>%?)\s*"
)
_COMMA = re.compile(r",(?![^\[\]]*\])")
_WORDS = ("model", "delta", "scope")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One line of ``--require``.

    Args:
        text: As written.
        metric: Which quantity.
        relation: ``>=`` or ``<=``.
        value: The limit.
        threat: Token of the threat, where the quantity has one.
        delta: The delta, where the quantity has one; None takes whichever was claimed.
        model: Which model of the run; empty for the one that the run delivers.
        scope: ``population`` (default), or ``sample`` for the tested examples alone.
    """

    text: str
    metric: Metric
    relation: Literal[">=", "<="]
    value: float
    threat: str = ""
    delta: float | None = None
    model: str = ""
    scope: Literal["population", "sample"] = "population"

    @classmethod
    def parse(cls, text: str) -> "Requirement":
        """Read one requirement.

        Raises:
            SettingError: If it does not have the form ``quantity(threat, word=value) >= number``.
            UnknownNameError: If there is no such quantity.
        """
        match = _FORM.fullmatch(text)
        if not match:
            raise SettingError(
                f"requirement {text!r} cannot be read; "
                "expected a form like 'robust_accuracy(linf:4/255) >= 0.70' or 'epsilon(delta=1e-5) <= 3'"
            )
        if match["kind"] not in list(Metric):
            raise UnknownNameError("quantity", match["kind"], list(Metric))
        kind = Metric(match["kind"])
        plain, words = _arguments(match["inside"] or "")
        wants = {Metric.ROBUST_ACCURACY: 1}.get(kind, 0)
        if len(plain) != wants:
            takes = "a threat such as linf:4/255" if wants else "no threat"
            raise SettingError(
                f"requirement {text!r}: {kind} takes {takes}, got {', '.join(plain) or 'none'}"
            )
        scope = words.get("scope", "population")
        if scope not in ("population", "sample"):
            raise SettingError(f"requirement {text!r}: scope={scope}; expected population or sample")
        delta = _number(text, words["delta"]) if "delta" in words else None
        if delta is not None and not 0 < delta < 1:
            raise SettingError(
                f"requirement {text!r}: delta={words['delta']}; expected a number strictly between 0 and 1, "
                "such as 1e-5"
            )
        value = _number(text, match["value"]) / (100 if match["percent"] else 1)
        low, high = kind.range
        if not low <= value <= high:
            raise SettingError(
                f"requirement {text!r}: {value:g} is no possible {kind}; expected a number in [{low:g}, "
                f"{high:g}]"
            )
        return cls(
            text=text.strip(),
            metric=kind,
            relation=">=" if match["relation"] == ">=" else "<=",
            value=value,
            threat=plain[0] if plain else "",
            delta=delta,
            model=words.get("model", ""),
            scope="sample" if scope == "sample" else "population",
        )


def _arguments(inside: str) -> tuple[list[str], dict[str, str]]:
    plain: list[str] = []
    words: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in _COMMA.split(inside))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if plain and "=" in plain[-1] and name not in _WORDS:
            plain[-1] = f"{plain[-1]},{part}"
        elif not equals or ":" in name:
            plain.append(part)
        elif name in _WORDS:
            words[name] = value
        else:
            raise UnknownNameError("word of a requirement", name, _WORDS)
    return plain, words


def _number(text: str, number: str) -> float:
    try:
        return float(number)
    except ValueError:
        raise SettingError(f"requirement {text!r}: {number!r} is no number") from None
