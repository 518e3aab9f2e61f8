"""The parts of the page under its first screen, those that the run has something for."""

from pathlib import Path

from quintain.report.blocks import Section
from quintain.report.exchange import federation_section, leak_section
from quintain.report.privacy import privacy_section
from quintain.report.robustness import attack_section, certificate_section, training_section
from quintain.report.run_results import RunResults
from quintain.report.trust import diagnostics_section, provenance_section


def sections(run: RunResults, folder: Path) -> tuple[Section, ...]:
    """Every part that is not empty, in reading order."""
    parts = (
        training_section(run),
        attack_section(run, folder),
        certificate_section(run),
        privacy_section(run),
        leak_section(run, folder),
        federation_section(run),
        diagnostics_section(run),
        provenance_section(run),
    )
    return tuple(part for part in parts if part is not None)
