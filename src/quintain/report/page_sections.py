"""The sections of the page, in reading order."""

from quintain.report.blocks import Section
from quintain.report.registry import blocks_of
from quintain.report.run_results import RunResults
from quintain.report.sections.anonymity import anonymity_section
from quintain.report.sections.certificates import certificate_section
from quintain.report.sections.diagnostics import diagnostics_section
from quintain.report.sections.evasion import evasion_section
from quintain.report.sections.not_done import not_done_section
from quintain.report.sections.provenance import provenance_section
from quintain.report.sections.training import training_section
from quintain.results.comparison_records import CompareResult
from quintain.results.privacy_records import (
    AuditResult,
    FederateResult,
    LeakResult,
    PlanResult,
    PrivatizeResult,
)
from quintain.results.second_opinion import SecondOpinionResult


def page_sections(run: RunResults) -> tuple[Section, ...]:
    """Return the sections of a run that have something to show, in reading order."""
    sections = (
        training_section(run),
        evasion_section(run),
        certificate_section(run),
        privacy_section(run),
        anonymity_section(run),
        leakage_section(run),
        federation_section(run),
        comparison_section(run),
        not_done_section(run),
        diagnostics_section(run),
        provenance_section(run),
    )
    return tuple(section for section in sections if section is not None)


def privacy_section(run: RunResults) -> Section | None:
    """Return the section on private trainings, planned noise and audits; None if the run has none."""
    trained = blocks_of(run, PrivatizeResult)
    planned = blocks_of(run, PlanResult)
    audited = blocks_of(run, AuditResult, SecondOpinionResult)
    lead = (
        "The accountant gives an upper bound on epsilon; the audit attacks the same training and gives a "
        "lower bound."
    )
    if not trained and not audited:
        lead = "What a target epsilon costs in noise and steps, before anything is trained."
    blocks = (*trained, *planned, *audited)
    return Section("privacy", "Privacy", lead, blocks) if blocks else None


def leakage_section(run: RunResults) -> Section | None:
    """Return the section on what leakage attacks found out; None if none was run."""
    on_models = any(result.measurements for result in run.results_of(LeakResult))
    on_updates = any(result.reconstructions for result in run.results_of(LeakResult))
    sentences = (
        "Whoever can query a model may find out whose data it was trained on, and what these people look "
        "like; each attack stands beside the best guess without access to the model."
        if on_models
        else "",
        "A model update is computed from the data, and the data can be reconstructed from it. Encryption in "
        "transit does not help: it is the server that reads the update."
        if on_updates or not on_models
        else "",
    )
    title = "Leakage" if on_models else "Leakage from updates"
    blocks = blocks_of(run, LeakResult)
    return Section("leaks", title, " ".join(filter(None, sentences)), tuple(blocks)) if blocks else None


def federation_section(run: RunResults) -> Section | None:
    """Return the section on federated training; None if the run has none."""
    lead = "Sites train one model together; the server adds up masked vectors and learns only their sum."
    blocks = blocks_of(run, FederateResult)
    return Section("federation", "Federated learning", lead, tuple(blocks)) if blocks else None


def comparison_section(run: RunResults) -> Section | None:
    """Return the section on a run that was compared with an earlier one; None if none was."""
    lead = "Two runs claim by claim: better or worse only where the two brackets do not overlap."
    blocks = blocks_of(run, CompareResult)
    return Section("comparison", "Comparison", lead, tuple(blocks)) if blocks else None
