"""The parts of the page under its first screen, those that the run has something for."""

from pathlib import Path

from quintain.report.blocks import Section
from quintain.report.exchange import federation, leaks
from quintain.report.privacy import privacy
from quintain.report.robustness import attack_and_defence, certificates, training
from quintain.report.run import Run
from quintain.report.trust import record, trust


def sections(run: Run, folder: Path) -> tuple[Section, ...]:
    """Every part that is not empty, in reading order."""
    parts = (
        training(run),
        attack_and_defence(run, folder),
        certificates(run),
        privacy(run),
        leaks(run, folder),
        federation(run),
        trust(run),
        record(run),
    )
    return tuple(part for part in parts if part is not None)
