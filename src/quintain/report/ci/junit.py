"""A run as JUnit XML, as Jenkins, GitLab and others read it.

There is no standard; what is written here is valid by Jenkins' ``junit-10.xsd``, has one outcome a case,
since readers disagree which of two counts, and names that stay the same from run to run, since GitLab
compares by them. Numbers stand in messages and texts alone.
"""

from collections.abc import Iterable
from xml.etree import ElementTree

from quintain.report.ci.cases import Case, CIRun, Status, cases
from quintain.report.ci.plain_text import plain_text


def junit(run: CIRun) -> str:
    """Return a run as JUnit XML.

    A requirement that fails is a ``failure``; one that is undecided is an ``error``, or ``skipped`` where
    that is only warned of; an alarm and a run that broke off are an ``error``.
    """
    found = cases(run)
    elements = [_outcome(case) for case in found]
    counts = {
        "tests": str(len(found)),
        "failures": str(elements.count("failure")),
        "errors": str(elements.count("error")),
    }
    seconds = f"{run.seconds:.3f}"
    root = ElementTree.Element("testsuites", {"name": "quintain", **counts, "time": seconds})
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        {
            "name": f"quintain.{run.verb}",
            **counts,
            "skipped": str(elements.count("skipped")),
            "time": seconds,
            **({"timestamp": run.records[0].provenance.started} if run.records else {}),
        },
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _properties(run):
        ElementTree.SubElement(properties, "property", {"name": name, "value": plain_text(value)})
    for case, element in zip(found, elements, strict=True):
        suite.append(_test_case(case, element, run.seconds if case.group == "run" else None))
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _outcome(case: Case) -> str:
    """Return the name of the element that tells a case's outcome; empty for a pass."""
    if case.status is Status.PASS:
        return ""
    if case.status is Status.FAIL:
        return "failure"
    return "skipped" if case.is_tolerated else "error"


def _test_case(case: Case, element: str, seconds: float | None) -> ElementTree.Element:
    attributes = {"classname": plain_text(f"quintain.{case.group}"), "name": plain_text(case.name)}
    if seconds is not None:
        attributes["time"] = f"{seconds:.3f}"
    made = ElementTree.Element("testcase", attributes)
    text = plain_text("\n".join((f"{case.name}: {case.message}", *case.details)))
    if element:
        outcome = {"type": case.kind, "message": plain_text(case.message)}
        ElementTree.SubElement(made, element, outcome).text = text
    else:
        ElementTree.SubElement(made, "system-out").text = text
    return made


def _properties(run: CIRun) -> Iterable[tuple[str, str]]:
    """Facts of the run."""
    yield "command", run.command
    yield "outcome", run.verdict.outcome
    yield "exit-code", str(run.verdict.exit_code)
    if run.folder:
        yield "run-folder", run.folder
    if run.records:
        provenance = run.records[-1].provenance
        yield "data", f"{provenance.data.name} {provenance.data.hash}"
        yield "seed", str(provenance.seed)
        yield from ((one.package, one.version) for one in provenance.versions)
