"""Linear bounds in a drill: they certify, within some seconds, what intervals and attacks leave open."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from quintain.certify import CROWN, BranchAndBound
from quintain.drill.context import DrillContext
from quintain.drill.step import do_part
from quintain.evaluate.brackets import known_examples
from quintain.evaluate.certify import Certification, best_certification
from quintain.evaluate.certify_workers import CertifyWorkers
from quintain.evaluate.model import EvaluatedModel
from quintain.evaluate.open_examples import certify_open, save_counterexamples, too_long
from quintain.results.per_example import PerExample
from quintain.results.records import NotDone
from quintain.results.robustness_records import AttackedModel
from quintain.threats.threat import Threat

SEARCH_SECONDS = (2.0, 8.0)
"""Seconds of branch and bound for an example, first few for those that are near a proof, then more for all of
them: most that it decides take less than half a second.
"""

NEAR = 0.25
"""Of the way from the model's margin to its bound: where no more lies below 0 a search comes early."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A certifier, and what it is asked.

    Args:
        certifier: CROWN, which tells how far each example is from a proof, or branch and bound.
        threats: The sizes of the threat.
        is_near_only: Whether only examples that are near a proof are asked.
    """

    certifier: CROWN | BranchAndBound
    threats: Sequence[Threat]
    is_near_only: bool = False


def stages(context: DrillContext) -> tuple[Stage, ...]:
    """Return the stages: sizes up to that of the threat come first, but for what is far from a proof."""
    small = [threat for threat in context.threats if threat.eps <= context.threat.eps]
    large = [threat for threat in context.threats if threat.eps > context.threat.eps]
    first, more = (BranchAndBound(seconds=seconds) for seconds in SEARCH_SECONDS)
    found = (Stage(CROWN(), small), Stage(first, small, is_near_only=True), Stage(CROWN(), large))
    return tuple(stage for stage in (*found, Stage(more, small)) if stage.threats)


@dataclass
class ModelBounds:
    """What is certified of one model so far.

    Args:
        certification: By all methods together.
        way_left: How far each example is from a proof (N,), as the first CROWN found; empty before.
        num_unreached: Examples that CROWN did not reach in the time.
    """

    certification: Certification
    way_left: Sequence[float] = ()
    num_unreached: int = 0

    def add(self, stage: Stage, found: Certification, num_unreached: int) -> None:
        """Add what a stage found."""
        if isinstance(stage.certifier, CROWN):
            self.num_unreached = max(num_unreached, self.num_unreached)
            self.way_left = self.way_left or found.way_left
        if found.seconds and (found.assumptions or found.counterexamples):
            both = best_certification([self.certification, found])
            assert both is not None
            self.certification = both


def certify_by_linear_bounds(
    context: DrillContext,
    subjects: Mapping[str, EvaluatedModel],
    proofs: Mapping[str, Certification],
    attacked: Mapping[str, AttackedModel],
    missing: list[NotDone],
) -> tuple[dict[str, Certification], tuple[str, ...]]:
    """Certify what is neither certified by intervals nor broken: by CROWN, then by branch and bound.

    Args:
        context: Of the drill; its workload says how many seconds.
        subjects: The models, by name.
        proofs: What intervals certify; models without any are left out.
        attacked: What attacks broke.
        missing: What keeps a model from having any is added to it.

    Returns:
        All certificates of each model, and notes on what there was no time for.
    """
    seconds = context.workload.bound_seconds
    ends = time.monotonic() + seconds
    bounds = {name: ModelBounds(proof) for name, proof in proofs.items()}
    names = _within_reach(context, subjects, proofs, missing) if seconds else []
    with CertifyWorkers([subjects[name] for name in names], context.processes) as workers:
        for stage in stages(context):
            for number, name in enumerate(names):
                one = bounds[name]
                work = partial(
                    _run_stage,
                    context,
                    stage,
                    subjects[name],
                    known_examples(one.certification, attacked.get(name)),
                    one.way_left,
                    # the time that is left is shared among the models whose turn is still to come
                    seconds=max(0.0, ends - time.monotonic()) / (len(names) - number),
                    workers=workers,
                )
                what = f"certificates by {stage.certifier.title} of the {subjects[name].file.title}"
                found = do_part(what, work, missing, remedy="use layers that linear bounds handle")
                if found is not None:
                    one.add(stage, *found)
                    save_counterexamples(context.folder, name, one.certification)
    notes = tuple(
        f"In {seconds} s linear bounds did not reach {bounds[name].num_unreached} examples of the "
        f"{subjects[name].file.title}: they are open unless something else decided them."
        for name in names
        if bounds[name].num_unreached
    )
    return {name: one.certification for name, one in bounds.items()}, notes


def _run_stage(
    context: DrillContext,
    stage: Stage,
    subject: EvaluatedModel,
    known: PerExample,
    way_left: Sequence[float],
    *,
    seconds: float,
    workers: CertifyWorkers,
) -> tuple[Certification, int]:
    """Return what one stage certifies of one model, and how many examples it leaves for want of time."""
    return certify_open(
        subject,
        context.test,
        stage.threats,
        stage.certifier,
        known,
        method=stage.certifier.title,
        rows=np.flatnonzero(np.array(way_left) < NEAR) if stage.is_near_only else None,
        way_left=() if isinstance(stage.certifier, CROWN) else way_left,
        seconds=seconds,
        workers=workers,
        progress=context.progress,
    )


def _within_reach(
    context: DrillContext,
    subjects: Mapping[str, EvaluatedModel],
    proofs: Mapping[str, Certification],
    missing: list[NotDone],
) -> list[str]:
    """Return the models of which linear bounds can be had in the time; others are added to ``missing``."""
    found = []
    for name in proofs:
        why = too_long(subjects[name], context.test, context.threats[-1], context.workload.bound_seconds)
        if why:
            what = f"certificates by linear bounds of the {subjects[name].file.title}"
            missing.append(NotDone(what, why, "take a smaller net, or give more --minutes"))
        else:
            found.append(name)
    return found
