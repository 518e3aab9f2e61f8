"""Parse the threats that ``--threat`` names."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from quintain.core.errors import SettingError
from quintain.core.registry import Entry, by_default_rank, get_entry
from quintain.core.threat_specs import current_spec, threat_name, threat_type
from quintain.results.gate import same_threat, same_threat_type
from quintain.results.quantity import Metric
from quintain.results.records import SkippedResult
from quintain.results.requirements import Requirement

if TYPE_CHECKING:
    from quintain.results.records import Record
    from quintain.threats.threat import Threat


def refuse_unknown_threats(specs: Sequence[str]) -> None:
    """Raise for a threat that is not registered, before anything heavy is imported.

    Raises:
        UnknownNameError: If there is one.
    """
    for spec in specs:
        get_entry("threat", threat_name(current_spec(spec)))


def refuse_unsupported_threats(attacks: Sequence[Entry], specs: Sequence[str]) -> None:
    """Raise for a threat that one of some universal attacks does not take.

    Raises:
        SettingError: If there is one.
    """
    for entry, spec in product(attacks, specs):
        supported = entry.words("supports")
        if not supported:
            raise SettingError(
                f"--threat {spec} with --attack {entry.name}, which bounds its change by settings of its "
                "own: leave --threat out"
            )
        if threat_name(current_spec(spec)) not in supported:
            raise SettingError(
                f"--threat {spec}: {entry.name} does not support it; it supports {', '.join(supported)}"
            )


def refuse_unmeasured_sizes(requirements: Sequence[Requirement], specs: Sequence[str]) -> None:
    """Raise for a requirement at a size that a run does not measure, before the run.

    A requirement of the project within another type of threat is no mistake: it is that of another run.

    Args:
        requirements: All of the run.
        specs: The threats that the run measures, of one type.

    Raises:
        SettingError: If there is one.
    """
    same_type, others = _unmeasured(requirements, specs)
    for one in requirements:
        if one not in (*same_type, *others):
            continue
        needed = dict.fromkeys(other.threat for other in same_type) if one in same_type else (one.threat,)
        raise SettingError(
            f"{_stated(one)} is on {one.threat}, and this run measures {', '.join(specs)}: "
            f"{'add' if one in same_type else 'run it with'} "
            f"{' '.join(f'--threat {spec}' for spec in needed)}"
        )


def measured_sizes(records: "Sequence[Record]") -> tuple[str, ...]:
    """Return the threats at which a finished run has measured robust accuracy.

    None where a part of the run was not done, which may be the one that was to measure a size.

    Args:
        records: Of the run, in the order of its steps.
    """
    if any(record.not_done or isinstance(record.result, SkippedResult) for record in records):
        return ()
    quantities = (claim.bracket.quantity for record in records for claim in record.claims)
    return tuple(dict.fromkeys(one.threat for one in quantities if one.metric is Metric.ROBUST_ACCURACY))


def refuse_sizes_not_measured(
    requirements: Sequence[Requirement], specs: Sequence[str], folder: Path
) -> None:
    """Raise for a requirement at a size that a finished run has not measured.

    Args:
        requirements: All that are to be decided.
        specs: The threats that the run has measured; nothing is raised where there are none.
        folder: The run folder.

    Raises:
        SettingError: If there is one.
    """
    same_type, others = _unmeasured(requirements, specs)
    for one in (*same_type, *(others if specs else ())):
        raise SettingError(
            f"{_stated(one)} is on {one.threat}, and the run in {folder} measured {', '.join(specs)}: "
            f"require one of these, or measure {one.threat} in a run with --threat {one.threat}"
        )


def _unmeasured(
    requirements: Sequence[Requirement], specs: Sequence[str]
) -> tuple[list[Requirement], list[Requirement]]:
    """Return the requirements on threats that a run does not measure: those at another size of a type that
    it measures, and those of the command line within another type.
    """
    missing = [
        one for one in requirements if one.threat and not any(same_threat(one.threat, spec) for spec in specs)
    ]
    same_type = [one for one in missing if any(same_threat_type(one.threat, spec) for spec in specs)]
    return same_type, [one for one in missing if not one.path and one not in same_type]


def _stated(one: Requirement) -> str:
    """A requirement with the file and the line that state it."""
    return f"requirement {one.text!r}" + (f" ({one.path}, line {one.line})" if one.path else "")


def parse_threats(specs: Sequence[str]) -> list["Threat"]:
    """Return the threats, from the smallest eps up: several sizes of one type.

    Raises:
        SettingError: If they are of several types, or several where sizes have no order.
    """
    refuse_unknown_threats(specs)
    from quintain.threats import parse
    from quintain.threats.sizes import sorted_by_size
    from quintain.threats.threat import Threat

    found = [threat for spec in dict.fromkeys(specs) if isinstance(threat := parse(spec), Threat)]
    if len({threat_type(threat.spec) for threat in found}) != 1:
        given = " and ".join(f"--threat {spec}" for spec in specs)
        raise SettingError(
            f"{given} are of different types; one run takes several sizes of one type, such as linf:2/255 "
            "and linf:4/255: run the command once for each type"
        )
    return sorted_by_size(found)


def default_certifier(specs: Sequence[str]) -> Entry:
    """Return the first certifier that handles the threats, or the first of all where there is none."""
    kinds = {threat_name(current_spec(spec)) for spec in specs}
    known = by_default_rank("certifier")
    return next((entry for entry in known if kinds <= set(entry.words("supports"))), known[0])


def parse_certifiable_threats(specs: Sequence[str]) -> list["Threat"]:
    """Return the threats where something is to be certified.

    Raises:
        SettingError: If no registered certifier handles one.
    """
    known = {entry.name: entry.words("supports") for entry in by_default_rank("certifier")}
    found = parse_threats(specs)
    for threat in found:
        name = threat_name(threat.spec)
        if not any(name in names for names in known.values()):
            able = "; ".join(f"{certifier}: {', '.join(names)}" for certifier, names in known.items())
            raise SettingError(
                f"no certifier handles {name} ({able}); use one of these, or 'quintain attack --threat "
                f"{threat.spec}'"
            )
    return found
