"""A run as SARIF 2.1.0, as GitHub's code scanning and other viewers read it.

It holds what is to be seen to alone: GitHub shows a result of any other kind, a pass too, as an alert. Each
result has a place in the repository, since one without makes GitHub refuse the whole file.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias
from urllib.parse import quote

from quintain.report.ci.cases import Case, CIRun, Status, cases
from quintain.report.ci.locations import Repository
from quintain.report.ci.plain_text import plain_text
from quintain.report.ci.rules import RULES, TAXA, TAXONOMIES, Rule
from quintain.version import __version__

Json: TypeAlias = "str | int | bool | list[Json] | dict[str, Json]"

SCHEMA_URI = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

_LEVELS = {Status.FAIL: "error", Status.ERROR: "error", Status.UNDECIDED: "warning"}

_RULE_IDS = tuple(RULES)


def sarif(run: CIRun, repository: Repository) -> str:
    """Return a run as SARIF.

    A requirement that fails and an alarm are of level ``error``, one that is undecided of level ``warning``;
    one that passes is left out. A run that broke off says so as a notification of the tool.
    """
    driver: Json = {
        "name": "Quintain",
        "organization": "The Quintain authors",
        "version": __version__,
        "semanticVersion": __version__,
        "shortDescription": {"text": "Tests classifiers against adversarial and privacy attacks."},
        "rules": [_rule(name, rule) for name, rule in RULES.items()],
        "supportedTaxonomies": [{"name": one.name, "index": place} for place, one in enumerate(TAXONOMIES)],
    }
    log: Json = {
        "$schema": SCHEMA_URI,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "taxonomies": [_taxonomy(place) for place in range(len(TAXONOMIES))],
                "automationDetails": {"id": f"quintain/{run.verb}/{run.folder.rpartition('/')[2]}"},
                "invocations": [_invocation(run)],
                "columnKind": "unicodeCodePoints",
                "results": list(_results(run, repository)),
            }
        ],
    }
    # a byte of the command line that is no text becomes a question mark
    return json.dumps(log, indent=1, ensure_ascii=False).encode(errors="replace").decode() + "\n"


def _results(run: CIRun, repository: Repository) -> Iterator[Json]:
    """Each case that is to be seen to."""
    seen: Counter[str] = Counter()
    for case in cases(run):
        if case.rule and case.status is not Status.PASS:
            fingerprint = _fingerprint(case)
            seen[fingerprint] += 1
            yield _result(case, repository, f"{fingerprint}:{seen[fingerprint]}")


def _result(case: Case, repository: Repository, fingerprint: str) -> Json:
    place = repository.place_of(case)
    model = case.group.removeprefix("gate").removeprefix(".")
    text = "\n".join((f"{case.name}: {case.kind}: {case.message}.", *case.details))
    rule = RULES[case.rule]
    result: dict[str, Json] = {
        "ruleId": case.rule,
        "ruleIndex": _RULE_IDS.index(case.rule),
        "level": _LEVELS[case.status],
        "message": {"text": plain_text(text)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(place.path)},
                    "region": {
                        "startLine": place.line,
                        "startColumn": place.start,
                        "endLine": place.line,
                        "endColumn": place.end,
                    },
                }
            }
        ],
        "partialFingerprints": {"primaryLocationLineHash": fingerprint},
        "properties": {"requirement": plain_text(case.name), **({"model": model} if model else {})},
    }
    if rule.taxa:
        result["taxa"] = [_taxon_reference(place, taxon) for place, taxon in rule.taxa]
    return result


def _fingerprint(case: Case) -> str:
    """Return what stays the same while a requirement speaks of the same quantity: its limit may change."""
    about = case.name.partition(">=")[0].partition("<=")[0]
    text = "/".join((case.rule, "".join(about.split())))
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:16]


def _rule(name: str, rule: Rule) -> Json:
    properties: dict[str, Json] = {"tags": list(rule.tags), "precision": "very-high"}
    if rule.severity:
        properties["security-severity"] = rule.severity
    else:
        properties["problem.severity"] = "error"
    described: dict[str, Json] = {
        "id": name,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.summary},
        "help": {"text": rule.help, "markdown": rule.help},
        "defaultConfiguration": {"level": "error"},
        "properties": properties,
    }
    if rule.taxa:
        described["relationships"] = [
            {"target": _taxon_reference(place, taxon), "kinds": ["relevant"]} for place, taxon in rule.taxa
        ]
    return described


def _taxonomy(place: int) -> Json:
    taxonomy = TAXONOMIES[place]
    return {
        "name": taxonomy.name,
        "version": taxonomy.version,
        "organization": taxonomy.organization,
        "shortDescription": {"text": taxonomy.description},
        "taxa": [
            {"id": taxon, "shortDescription": {"text": description}}
            for (of, taxon), description in TAXA.items()
            if of == place
        ],
    }


def _taxon_reference(place: int, taxon: str) -> Json:
    return {"id": taxon, "toolComponent": {"name": TAXONOMIES[place].name, "index": place}}


def _invocation(run: CIRun) -> Json:
    """How the command ended; a run that broke off with its reason."""
    verdict = run.verdict
    invocation: dict[str, Json] = {
        "commandLine": plain_text(run.command),
        "executionSuccessful": not run.broke_off,
        "exitCode": verdict.exit_code,
        "exitCodeDescription": verdict.outcome,
    }
    if run.records:
        invocation["startTimeUtc"] = run.records[0].provenance.started.replace("+00:00", "Z")
    if run.broke_off:
        invocation["toolExecutionNotifications"] = [
            {"level": "error", "message": {"text": plain_text(verdict.reason)}}
        ]
    return invocation
