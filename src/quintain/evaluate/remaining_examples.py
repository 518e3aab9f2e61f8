"""What a cheap certifier leaves open goes to the first that takes long, for some seconds."""

from collections.abc import Sequence

from quintain.core.errors import ModelError
from quintain.core.progress import Progress, no_progress
from quintain.core.registry import by_default_rank
from quintain.core.threat_specs import threat_name
from quintain.data.dataset import Dataset
from quintain.evaluate.brackets import known_examples
from quintain.evaluate.certify import Certification, best_certification
from quintain.evaluate.certify_workers import CertifyWorkers
from quintain.evaluate.model import EvaluatedModel
from quintain.evaluate.open_examples import certify_open, too_long
from quintain.results.robustness_records import AttackedModel
from quintain.threats.sizes import sorted_by_size
from quintain.threats.threat import Threat

OPEN_SECONDS = 60.0
"""Seconds for it where no others were named."""


def certify_remaining(
    subject: EvaluatedModel,
    data: Dataset,
    threats: Sequence[Threat],
    certification: Certification | None,
    attacked: AttackedModel | None = None,
    *,
    seconds: float = OPEN_SECONDS,
    processes: int = 1,
    progress: Progress = no_progress,
) -> tuple[Certification | None, tuple[str, ...]]:
    """Let the first certifier of the model itself that takes long try what is neither certified nor broken.

    Args:
        subject, data, threats: Model, labeled examples, and sizes of one type of threat.
        certification: What is certified, if anything is.
        attacked: What attacks broke, where there were any; one of the two is there.
        seconds: How long.
        processes: How many try examples at once, as ``CertifyWorkers`` says.
        progress: Shows a bar of examples.

    Returns:
        All certificates, as they were where it certifies nothing; and notes on what there was no time for.
    """
    kinds, sizes = {threat_name(threat.spec) for threat in threats}, sorted_by_size(threats)
    entry = next(
        (
            one
            for one in by_default_rank("certifier")
            if (one.fact("cost", "cheap"), one.fact("subject", "model")) == ("expensive", "model")
            and kinds <= set(one.words("supports"))
        ),
        None,
    )
    if entry is None:
        return certification, ()
    method = entry.build()
    title = getattr(method, "title", entry.name)
    try:
        why = too_long(subject, data, sizes[-1], seconds)
    except ModelError:
        return certification, ()
    if why:
        return certification, (
            f"{title}: not tried, since {why}; --certifier {entry.name} tries all the same.",
        )
    known = known_examples(certification, attacked)
    with CertifyWorkers([subject], processes) as workers:
        found, unasked = certify_open(
            subject,
            data,
            threats,
            method,
            known,
            method=title,
            seconds=seconds,
            workers=workers,
            progress=progress,
        )
    notes: tuple[str, ...] = ()
    if unasked:
        notes = (
            f"{title} did not reach {unasked} of {len(data)} examples in {seconds:.0f} s; --certifier "
            f"{entry.name} tries them all.",
        )
    if found.examples == known:
        return certification, notes
    return best_certification([found] if certification is None else [certification, found]), notes
