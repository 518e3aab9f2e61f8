"""Requirements on a model, read from text such as ``robust_accuracy(linf:4/255) >= 0.70``."""

import re
from dataclasses import dataclass
from typing import Literal

from quintain.core.errors import SettingError, UnknownNameError
from quintain.core.threat_checks import check_spec, option_names
from quintain.results.quantity import Metric

_REQUIREMENT = re.compile(
    r"\s*(?P<metric>\w+)\s*(?:\((?P<arguments>[^()]*)\))?\s*(?P<relation>>=|<=)\s*"
    r"(?P<value>[0-9.eE+-]+)\s*(?P<percent>%?)\s*"
)
_COMMA_OUTSIDE_BRACKETS = re.compile(r",(?![^\[\]]*\])")
_KEYWORDS = ("model", "delta", "fpr", "scope")
_WITHOUT_VALUE = re.compile(rf"[(,]\s*({'|'.join(_KEYWORDS)})\s*=\s*[,)]")

ATTACKED_ACCURACY = "attacked_accuracy"
"""How a requirement names the accuracy that the attacks of the run left, which is no robust accuracy."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """A required lower or upper limit of one quantity, as ``--require`` takes it.

    Args:
        text: The requirement as it was written.
        metric: The metric that is limited.
        relation: ``>=`` if ``value`` is a lower limit, ``<=`` if it is an upper limit.
        value: The limit, in the units of the metric; accuracies are fractions in [0, 1].
        threat: Spec of the threat, for robust accuracy; empty for other metrics.
        delta: The delta of epsilon; None stands for every delta that is claimed.
        fpr: The false-positive rate of ``membership_tpr``; None stands for every one that is measured.
        model: Name of a model of the run; empty for the run's primary claims.
        scope: ``population``, or ``sample`` for the tested examples alone, which is the default under
            attack.
        under_attack: Whether it limits what the attacks of the run left of robust accuracy, not robust
            accuracy itself: an attack alone decides it, and a stronger one may decide otherwise.
        path: The file that states it; empty where the command line or a default does.
        line: Its line there, from 1 up; 0 where it is not known.
    """

    text: str
    metric: Metric
    relation: Literal[">=", "<="]
    value: float
    threat: str = ""
    delta: float | None = None
    fpr: float | None = None
    model: str = ""
    scope: Literal["population", "sample"] = "population"
    under_attack: bool = False
    path: str = ""
    line: int = 0

    @property
    def name(self) -> str:
        """The name of what is limited, as requirements write it."""
        return ATTACKED_ACCURACY if self.under_attack else str(self.metric)

    @classmethod
    def state(cls, text: str, *, path: str = "", line: int = 0) -> "Requirement":
        """Return the requirement that somebody states now, which no model passes by being worse.

        Args:
            text: Such as ``robust_accuracy(linf:4/255) >= 0.70``.
            path, line: Where it is written, if that is a file.

        Raises:
            SettingError: If it cannot be read, has a keyword without a value, or is an upper limit of an
                accuracy or a lower one of epsilon or of what attackers find out.
            UnknownNameError: If there is no such metric, threat or keyword.
        """
        found = cls.parse(text, path=path, line=line)
        if empty := _WITHOUT_VALUE.search(text):
            raise SettingError(
                f"requirement {text!r}: {empty[1]}= has no value; give one, or leave it out (is a variable "
                "of the shell not set?)"
            )
        relation = "<=" if found.metric.less_is_better else ">="
        if found.relation != relation:
            raise SettingError(
                f"requirement {text!r} would be passed by worse models alone; expected {relation}: "
                f"{found.text.replace(found.relation, relation)!r}"
            )
        return found

    @classmethod
    def parse(cls, text: str, *, path: str = "", line: int = 0) -> "Requirement":
        """Return the requirement that a text states, also one of a stored record.

        Args:
            text: Such as ``robust_accuracy(linf:4/255) >= 0.70``.
            path, line: Where it is written, if that is a file.

        Raises:
            SettingError: If the text does not have the form ``metric(threat, keyword=value) >= number``, or
                a value is out of range.
            UnknownNameError: If there is no such metric, threat or keyword.
        """
        match = _REQUIREMENT.fullmatch(text)
        if not match:
            raise SettingError(
                f"requirement {text!r} cannot be read; "
                "expected a form like 'robust_accuracy(linf:4/255) >= 0.70' or 'epsilon(delta=1e-5) <= 3'"
            )
        known = (*Metric, ATTACKED_ACCURACY)
        if match["metric"] not in known:
            raise UnknownNameError("quantity", match["metric"], known)
        under_attack = match["metric"] == ATTACKED_ACCURACY
        metric = Metric.ROBUST_ACCURACY if under_attack else Metric(match["metric"])
        threats, keywords = _split_arguments(match["arguments"] or "")
        needs_threat = metric is Metric.ROBUST_ACCURACY
        if len(threats) != needs_threat:
            expected = "a threat such as linf:4/255" if needs_threat else "no threat"
            raise SettingError(
                f"requirement {text!r}: {match['metric']} takes {expected}, got "
                f"{', '.join(threats) or 'none'}"
            )
        for threat in threats:
            try:
                check_spec(threat)
            except SettingError as error:
                raise SettingError(f"requirement {text!r}: {error}") from None
        scope = keywords.get("scope", "sample" if under_attack else "population")
        if scope not in ("population", "sample"):
            raise SettingError(f"requirement {text!r}: scope={scope}; expected population or sample")
        if "delta" in keywords and metric is not Metric.EPSILON:
            raise SettingError(f"requirement {text!r}: {match['metric']} has no delta; leave it out")
        delta = _to_float(text, keywords["delta"]) if "delta" in keywords else None
        if delta is not None and not 0 < delta < 1:
            raise SettingError(
                f"requirement {text!r}: delta={keywords['delta']}; expected a number strictly between 0 and "
                "1, such as 1e-5"
            )
        if "fpr" in keywords and metric is not Metric.MEMBERSHIP_TPR:
            raise SettingError(f"requirement {text!r}: {match['metric']} has no fpr; leave it out")
        fpr = _fraction(text, "fpr", keywords["fpr"]) if "fpr" in keywords else None
        value = _limit(text, metric, match["value"], bool(match["percent"]))
        low, high = metric.range
        if not low <= value <= high:
            raise SettingError(
                f"requirement {text!r}: {value:g} is not a possible {match['metric']}; expected a number in "
                f"[{low:g}, {high:g}]"
            )
        return cls(
            text=text.strip(),
            metric=metric,
            relation=">=" if match["relation"] == ">=" else "<=",
            value=value,
            threat=threats[0] if threats else "",
            delta=delta,
            fpr=fpr,
            model=keywords.get("model", ""),
            scope="sample" if scope == "sample" else "population",
            under_attack=under_attack,
            path=path,
            line=line,
        )


def _split_arguments(arguments: str) -> tuple[list[str], dict[str, str]]:
    """Return the threat specs and the keywords of comma-separated arguments.

    A spec may contain commas itself: in ``color:hue=0.1,contrast=0.2, delta=1e-5`` a ``name=value`` after a
    spec with options continues the spec, unless its name is a keyword of requirements.
    """
    threats: list[str] = []
    keywords: dict[str, str] = {}
    for argument in filter(None, (part.strip() for part in _COMMA_OUTSIDE_BRACKETS.split(arguments))):
        name, equals, value = (part.strip() for part in argument.partition("="))
        continues = threats and ("=" in threats[-1] or name in option_names(threats[-1]))
        if continues and equals and name not in _KEYWORDS:
            threats[-1] = f"{threats[-1]},{argument}"
        elif not equals or ":" in name:
            threats.append(argument)
        elif name in keywords:
            raise SettingError(f"{name} is given twice in '({arguments.strip()})'; give it once")
        elif name in _KEYWORDS:
            keywords[name] = value
        else:
            raise UnknownNameError("keyword of a requirement", name, _KEYWORDS)
    return threats, keywords


def _limit(text: str, metric: Metric, number: str, is_percent: bool) -> float:
    """Return the required value; percent are those of an accuracy."""
    value = _to_float(text, number)
    if not is_percent:
        return value
    if metric is Metric.EPSILON:
        raise SettingError(f"requirement {text!r}: an epsilon is no percentage; expected a number such as 3")
    if 0 < value < 1:
        raise SettingError(
            f"requirement {text!r}: {number} % is {value / 100:g}, less than one in a hundred; if that "
            f"is meant, write {value / 100:g}, else {number} or {100 * value:g} %"
        )
    return value / 100


def _fraction(requirement: str, keyword: str, text: str) -> float:
    """Return a rate such as ``1%`` or ``0.01`` as a fraction.

    Raises:
        SettingError: If it is no number strictly between 0 and 1.
    """
    number = text.strip().removesuffix("%")
    value = _to_float(requirement, number.strip()) / (100 if number != text.strip() else 1)
    if not 0 < value < 1:
        raise SettingError(
            f"requirement {requirement!r}: {keyword}={text}; expected a rate strictly between 0 and 1, such "
            "as 1% or 0.01"
        )
    return value


def _to_float(requirement: str, number: str) -> float:
    """Return a number of the requirement, whose text an error quotes."""
    try:
        return float(number)
    except ValueError:
        raise SettingError(f"requirement {requirement!r}: {number!r} is not a number") from None
