"""The sections of the page in reading order, of those that have something to show."""

from quintain.report.blocks import Section
from quintain.report.registry import blocks_of
from quintain.report.run_results import RunResults
from quintain.report.sections.certificates import certificate_section
from quintain.report.sections.diagnostics import diagnostics_section
from quintain.report.sections.evasion import evasion_section
from quintain.report.sections.not_done import not_done_section
from quintain.report.sections.provenance import provenance_section
from quintain.report.sections.training import training_section
from quintain.results.privacy_records import (
    AuditResult,
    FederateResult,
    LeakResult,
    PlanResult,
    PrivatizeResult,
)


def page_sections(run: RunResults) -> tuple[Section, ...]:
    """Return every section that is not empty, in reading order."""
    found = (
        training_section(run),
        evasion_section(run),
        certificate_section(run),
        privacy_section(run),
        leakage_section(run),
        federation_section(run),
        not_done_section(run),
        diagnostics_section(run),
        provenance_section(run),
    )
    return tuple(section for section in found if section is not None)


def privacy_section(run: RunResults) -> Section | None:
    """Show private trainings, plans, and audits with their tests of the mechanism."""
    trained, planned, audited = (blocks_of(run, one) for one in (PrivatizeResult, PlanResult, AuditResult))
    lead = (
        "The accountant gives an upper bound on epsilon; the audit attacks the same training and gives a "
        "lower bound."
    )
    if not trained and not audited:
        lead = "What a target epsilon costs in noise and steps, before anything is trained."
    blocks = (*trained, *planned, *audited)
    return Section("privacy", "Privacy", lead, blocks) if blocks else None


def leakage_section(run: RunResults) -> Section | None:
    """Show what can be reconstructed from updates."""
    lead = (
        "A model update is computed from the data, and the data can be computed back from it. "
        "Encryption on the way does not help: the server itself looks."
    )
    blocks = blocks_of(run, LeakResult)
    return Section("leaks", "Leakage from updates", lead, tuple(blocks)) if blocks else None


def federation_section(run: RunResults) -> Section | None:
    """Show accuracy by round, and what the server saw of each site."""
    lead = "Sites train one model together; the server adds up masked vectors and learns their sum."
    blocks = blocks_of(run, FederateResult)
    return Section("federation", "Federated learning", lead, tuple(blocks)) if blocks else None
