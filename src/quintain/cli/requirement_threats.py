"""Refuse requirements that a run does not decide: on other threats, or of a command without a record."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from quintain.cli.ci_files import note_not_checked
from quintain.core.errors import SettingError
from quintain.results.gate import same_threat, same_threat_type
from quintain.results.quantity import Metric
from quintain.results.records import SkippedResult
from quintain.results.requirements import Requirement

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall
    from quintain.results.records import Record


def refuse_unplanned_requirements(requirements: Sequence[Requirement], specs: Sequence[str]) -> None:
    """Raise for a requirement on a threat that a run is not going to measure.

    A requirement of the project file on another type of threat is no mistake: it belongs to another run.

    Args:
        requirements: All requirements, of the command line and of the project file.
        specs: The threats that the run is going to measure, all of one type.

    Raises:
        SettingError: If there is such a requirement.
    """
    other_sizes, other_types = _find_unmeasured(requirements, specs)
    for requirement in requirements:
        if requirement in other_sizes:
            remedy, missing = "add", dict.fromkeys(one.threat for one in other_sizes)
        elif requirement in other_types:
            remedy, missing = "run it with", {requirement.threat: None}
        else:
            continue
        raise SettingError(
            f"{_with_source(requirement)} is on {requirement.threat}, and this run measures "
            f"{', '.join(specs)}: {remedy} {' '.join(f'--threat {spec}' for spec in missing)}"
        )


def refuse_unmeasured_requirements(
    requirements: Sequence[Requirement], specs: Sequence[str], folder: Path
) -> None:
    """Raise for a requirement on a threat that a finished run has not measured.

    Args:
        requirements: All requirements that are to be decided.
        specs: The threats that the run has measured; nothing is raised where there are none.
        folder: The run folder.

    Raises:
        SettingError: If there is such a requirement.
    """
    if not specs:
        return
    for requirement in (one for found in _find_unmeasured(requirements, specs) for one in found):
        raise SettingError(
            f"{_with_source(requirement)} is on {requirement.threat}, and the run in {folder} measured "
            f"{', '.join(specs)}: require one of these, or measure {requirement.threat} in a run with "
            f"--threat {requirement.threat}"
        )


def measured_threats(records: "Sequence[Record]") -> tuple[str, ...]:
    """Return the specs of the threats under which a finished run has measured robust accuracy.

    There are none if a part of the run was not done, since that part may have been the one to measure a
    required threat.

    Args:
        records: The records of the run, in the order of its steps.
    """
    if any(record.not_done or isinstance(record.result, SkippedResult) for record in records):
        return ()
    quantities = (claim.bracket.quantity for record in records for claim in record.claims)
    return tuple(dict.fromkeys(one.threat for one in quantities if one.metric is Metric.ROBUST_ACCURACY))


def refuse_run_options(call: "VerbCall", option: str) -> None:
    """Refuse what is for records alone, where none is written; say so of what a project requires.

    Raises:
        SettingError: For ``--out`` and ``--require``.
    """
    if call.out is not None or call.require:
        given = "--require" if call.require else "--out"
        raise SettingError(
            f"got {given} with {option}, which makes no run folder; leave it out: the exit code says what "
            "was found"
        )
    if call.project.require:
        note_not_checked([one.text for one in call.project.require])
        call.print_dim(
            f"not checked: the requirements of {call.project.path}, since {option} makes no record"
        )


def _find_unmeasured(
    requirements: Sequence[Requirement], specs: Sequence[str]
) -> tuple[list[Requirement], list[Requirement]]:
    """Return the requirements on threats other than the measured ``specs``, in two lists.

    Returns:
        Those on another size of a type in ``specs``, and those on another type; of the latter only those of
        the command line, which have no path.
    """
    missing = [
        one for one in requirements if one.threat and not any(same_threat(one.threat, spec) for spec in specs)
    ]
    other_sizes = [one for one in missing if any(same_threat_type(one.threat, spec) for spec in specs)]
    other_types = [one for one in missing if one not in other_sizes and not one.path]
    return other_sizes, other_types


def _with_source(requirement: Requirement) -> str:
    """Return the text of a requirement, with the file and the line that state it if a file does."""
    source = f" ({requirement.path}, line {requirement.line})" if requirement.path else ""
    return f"requirement {requirement.text!r}{source}"
