"""Runs that ended in every way, as CI systems are told of them."""

from dataclasses import replace
from pathlib import Path

from quintain.core.errors import ExitCode
from quintain.report.ci.cases import CIRun
from quintain.results.evidence import CountEvidence
from quintain.results.gate import decide, run_verdict
from quintain.results.privacy_records import AuditResult
from quintain.results.quantity import Basis
from quintain.results.records import Claim, Record
from quintain.results.requirements import Requirement
from quintain.results.robustness_records import AttackResult
from quintain.results.verdict import RunVerdict, UndecidedRule
from tests.report.support.claims import accuracy
from tests.report.support.sample import record, record_of
from tests.report.support.sample import run as drill_records

PASSES = "robust_accuracy(linf:4/255) >= 0.6"
FAILS = "robust_accuracy(linf:4/255) >= 0.9"
UNDECIDED = "robust_accuracy(linf:4/255) >= 0.74"
FAR = "epsilon(delta=1e-5) <= 3"


def attacked(*texts: str, undecided: UndecidedRule = "fail", claim: Claim | None = None) -> CIRun:
    """An attack that was judged by these requirements."""
    claims = (claim or replace(accuracy("net:linf:4/255", "Robust accuracy, net", 455, 470), primary=True),)
    return judged(record(AttackResult(()), claims), *texts, undecided=undecided)


def judged(one: Record, *texts: str, undecided: UndecidedRule = "fail", verb: str = "attack") -> CIRun:
    """A run of one record, judged by these requirements."""
    stated = tuple(Requirement.parse(text) for text in texts)
    decided = tuple(decide(requirement, one.claims) for requirement in stated)
    verdict = run_verdict(decided, one.claims, [one.result], undecided=undecided)
    return CIRun(
        verb=verb,
        command=one.provenance.command,
        verdict=verdict,
        records=(replace(one, requirements=decided, verdict=verdict),),
        requirements=stated,
        folder=f"runs/2026-11-24-{verb}",
    )


def failed(*texts: str, reason: str = "the model gives NaN") -> CIRun:
    """A run that left nothing behind."""
    stated = tuple(Requirement.parse(text) for text in texts)
    verdict = RunVerdict("EXECUTION", ExitCode.EXECUTION, reason)
    return CIRun(verb="attack", command="quintain attack", verdict=verdict, requirements=stated)


def contradicting() -> CIRun:
    """An attack that broke what was certified."""
    return attacked(PASSES, claim=accuracy("net:linf:4/255", "Robust accuracy, net", 480, 461))


def suspect() -> CIRun:
    """A smoothed model whose bounds cross as chance may explain."""
    claim = accuracy("net:l2:0.5", "Robust accuracy, net", 50, 49, trials=100, token="l2:0.5")
    lower = replace(claim.bracket.lower, basis=Basis.STATISTICAL, evidence=CountEvidence(50, 100, 0.001))
    return attacked(claim=replace(claim, bracket=replace(claim.bracket, lower=lower)))


def drilled(folder: Path) -> CIRun:
    """A whole drill."""
    records = drill_records(folder)
    one = next(item for item in records if item.result.kind == "drill")
    claims = [claim for item in records for claim in item.claims]
    verdict = run_verdict(one.result.requirements, claims, [item.result for item in records])
    return CIRun(
        verb="drill", command=one.provenance.command, verdict=verdict, records=records, folder=str(folder)
    )


def mismatched(folder: Path) -> CIRun:
    """An audit whose noise is half of what was claimed."""
    audit = record_of(drill_records(folder), AuditResult)
    halved = replace(audit.result.mechanism_tests[0], measured=0.56, p_value=1e-30, passed=False)
    return judged(replace(audit, result=replace(audit.result, mechanism_tests=(halved,))), FAR, verb="audit")


def every(folder: Path) -> dict[str, CIRun]:
    """A run of each kind, by a name."""
    return {
        "passed": attacked(PASSES),
        "failed": attacked(PASSES, FAILS),
        "undecided": attacked(UNDECIDED),
        "warned": attacked(UNDECIDED, undecided="warn"),
        "nothing required": attacked(),
        "nothing of it": attacked(FAR),
        "broke off": failed(PASSES, FAR),
        "contradiction": contradicting(),
        "suspect": suspect(),
        "drill": drilled(folder),
        "mismatch": mismatched(folder),
        "control characters": failed(PASSES, reason="\x1b[31mred\x1b[0m \x00\x08 \ud800 ok"),
    }
