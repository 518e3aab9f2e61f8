"""Bound robust accuracy within a time: cheap sides first, then each open example to the likelier side."""

import io
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from quintain.certify.outcome import Certifier, is_expensive
from quintain.core.errors import ContradictionError, SettingError
from quintain.core.files import write_atomically
from quintain.core.progress import Progress, no_progress
from quintain.data.dataset import Dataset
from quintain.evaluate.brackets import known_examples, robustness_claims
from quintain.evaluate.certify import Certification, best_certification, certify_examples
from quintain.evaluate.certify_workers import CertifyWorkers
from quintain.evaluate.evasion.attacks import run_attacks
from quintain.evaluate.evasion.job import AttackFn
from quintain.evaluate.model import EvaluatedModel, named_model, per_example, predictions
from quintain.evaluate.open_examples import certify_open, save_counterexamples
from quintain.models.classifier import Classifier
from quintain.results.bounds import Bracket
from quintain.results.per_example import ExampleState, PerExample
from quintain.results.records import Claim
from quintain.results.robustness_records import AttackedModel
from quintain.threats.arguments import to_threat
from quintain.threats.sizes import sorted_by_size
from quintain.threats.threat import Threat

CONTRADICTION = "contradiction"
"""The name of the two files on examples that are both certified and broken, in a folder."""

TIME_FRACTIONS = (0.5, 0.5, 1.0)
"""Of the time that is left: for the first certifier that takes long, for search, for all that is left."""


@dataclass(frozen=True, slots=True)
class Robustness:
    """Both bounds on a model's robust accuracy, at one size or more.

    Args:
        claims: One for each size, from the smallest up.
        examples: What is known of each example.
        num_open: Examples that are neither certified nor broken, by size.
    """

    claims: tuple[Claim, ...]
    examples: PerExample
    num_open: tuple[int, ...]

    @property
    def bracket(self) -> Bracket:
        """Both bounds at the largest size."""
        return self.claims[-1].bracket


def robustness(
    model: Classifier,
    data: Dataset,
    threat: Threat | str | Sequence[Threat | str],
    attacks: Sequence[AttackFn],
    certifiers: Sequence[Certifier],
    budget: float = 60.0,
    *,
    seed: int = 0,
    folder: Path | None = None,
    clock: Callable[[], float] = time.monotonic,
    processes: int = 1,
    build: Callable[[], Classifier] | None = None,
    progress: Progress = no_progress,
) -> Robustness:
    r"""Bound the robust accuracy of a model on some examples within a time.

    .. math:: certified \le E\,[\forall z \in ball(x): f(z) = y] \le attacked

    All are certified by what is cheap, the rest is attacked, and what stays open goes to the first certifier
    that takes long. Its margins then tell which side is more promising: where less than half of the way from
    the model's margin to 0 is left, the example goes to the next certifier, the nearest first, else it is
    attacked again from another seed; what is left of either is given to the other side. A broken example is
    never certified, and a certified one never attacked, at the size at which it is.

    Args:
        model, data: The classifier, and labeled examples.
        threat: What may be changed, such as ``"linf:8/255"``, or several sizes of one type.
        attacks: From ``quintain.attacks``.
        certifiers: From ``quintain.certify``, the quick ones first, such as ``[IntervalBounds(), CROWN(),
            BranchAndBound()]``.
        budget: Seconds for what takes long; the cheap sides are done whatever they take.
        seed: Seed of the attacks' random numbers.
        folder: Where inputs go that a certifier found, and what is both certified and broken.
        clock: Tells the time.
        processes: How many certify at once where that takes long, each on one thread; a script that gives
            more than one does its work under ``if __name__ == "__main__":``.
        build: Builds a net of this kind, whatever its weights, in another process, which has to be able to
            import the function; without it there is one process.
        progress: Shows bars.

    Raises:
        SettingError: If there is neither an attack nor a certifier, ``processes`` is below 1, or a certifier
            is of another model, as those of smoothing and ablation are.
        ContradictionError: If an example is both certified and broken; both claims, the example and its index
            are in ``folder`` before.
    """
    if not attacks and not certifiers:
        raise SettingError("neither attacks nor certifiers; expected at least one side of the bracket")
    if processes < 1:
        raise SettingError(f"processes = {processes}; expected at least 1, this one")
    for one in certifiers:
        if getattr(one, "subject", "model") != "model" or not callable(one):
            raise SettingError(
                f"{type(one).__name__} certifies another model, which is made of the given one; expected "
                "certifiers of the model itself, such as CROWN() (for votes: model.certify of that other one)"
            )
    given = [threat] if isinstance(threat, str | Threat) else list(threat)
    sizes = sorted_by_size([to_threat(one) for one in given])
    subject = named_model(model, model.name, model.name, build=build)
    named = {f"{type(attack).__name__}-{number}": attack for number, attack in enumerate(attacks)}
    cheap = [one for one in certifiers if not is_expensive(one)]
    expensive = [one for one in certifiers if is_expensive(one)]
    proofs = [
        certify_examples(subject, data, sizes, one, method=_title(one), progress=progress) for one in cheap
    ]
    certified = best_certification(proofs)
    attacked = None
    if named:
        attacked = run_attacks(
            subject,
            data,
            sizes,
            named,
            seed=seed,
            certified=certified.examples if certified else None,
            progress=progress,
        )
    ends = clock() + budget

    def known() -> PerExample:
        if not proofs and attacked is None:
            return _predicted_alone(subject, data)
        return known_examples(best_certification(proofs), attacked)

    def certify(
        one: Certifier, rows: np.ndarray, time_fraction: float, way_left: Sequence[float] = ()
    ) -> Certification:
        found, _ = certify_open(
            subject,
            data,
            sizes,
            one,
            known(),
            method=_title(one),
            rows=rows,
            way_left=way_left,
            seconds=time_fraction * max(0.0, ends - clock()),
            clock=clock,
            workers=workers,
            progress=progress,
        )
        proofs.append(found)
        return found

    everyone = np.arange(len(data))
    with CertifyWorkers([subject], processes) as workers:
        if expensive:
            way_left = np.array(certify(expensive[0], everyone, TIME_FRACTIONS[0]).way_left)
            near = np.flatnonzero(way_left < 0.5)
            for one in expensive[1:]:
                certify(one, near, TIME_FRACTIONS[1], way_left.tolist())
            far = np.flatnonzero(_open(known(), sizes).any(0) & ~(way_left < 0.5))
            if len(far) and attacked is not None and clock() < ends:
                again = run_attacks(
                    subject,
                    data.subset(far),
                    sizes,
                    named,
                    seed=seed + 1,
                    certified=_some(known(), far),
                    progress=progress,
                )
                attacked = _with(attacked, far, again)
            for one in expensive[1:]:
                certify(one, everyone, TIME_FRACTIONS[2], way_left.tolist())
    best = best_certification(proofs)
    both, claims = robustness_claims(subject, data, sizes, certification=best, attacked=attacked)
    if folder is not None and best is not None:
        save_counterexamples(folder, subject.name, best)
    _raise_if_crossed(claims, both.examples, data, sizes, folder)
    return Robustness(claims, both.examples, tuple(int(flags.sum()) for flags in _open(both.examples, sizes)))


def _title(certifier: Certifier) -> str:
    return str(getattr(certifier, "title", type(certifier).__name__))


def _predicted_alone(subject: EvaluatedModel, data: Dataset) -> PerExample:
    """Return what is known of examples that were neither certified nor attacked: errors are broken."""
    predicted = predictions(subject.model, data)
    broken = np.where(predicted == data.labels, math.inf, 0.0)
    return per_example(data, predicted, np.zeros(len(data)), broken, predicted < 0)


def _open(known: PerExample, sizes: Sequence[Threat]) -> np.ndarray:
    """Return which examples are neither certified nor broken, by size (S, N)."""
    return np.array(
        [[state is ExampleState.OPEN for state in known.states(threat.eps)] for threat in sizes], dtype=bool
    )


def _some(known: PerExample, rows: np.ndarray) -> PerExample:
    """Return what is known of some examples, which have their places among these as ids."""
    columns = {
        name: tuple(getattr(known, name)[row] for row in rows)
        for name in ("labels", "predicted", "certified_radius", "broken_radius", "invalid")
    }
    return PerExample(ids=tuple(range(len(rows))), **columns)


def _with(attacked: AttackedModel, rows: np.ndarray, again: AttackedModel) -> AttackedModel:
    """Return attack results with what another attack broke of some examples."""
    broken = np.array(attacked.examples.broken_radius)
    broken[rows] = np.minimum(broken[rows], again.examples.broken_radius)
    return replace(attacked, examples=replace(attacked.examples, broken_radius=tuple(broken.tolist())))


def _raise_if_crossed(
    claims: Sequence[Claim], known: PerExample, data: Dataset, sizes: Sequence[Threat], folder: Path | None
) -> None:
    """Raise if an example is both certified and broken; what is known of it is saved before."""
    rows = [row for row, name in enumerate(known.ids) if name in known.contradictory_ids(sizes[-1].eps)]
    if not rows:
        return
    lower, upper = claims[-1].bracket.lower, claims[-1].bracket.upper
    where = ""
    if folder is not None:
        facts = [
            {
                "row": row,
                "label": known.labels[row],
                "certified": {"by": lower.method, "radius": known.certified_radius[row]},
                "broken": {"by": upper.method, "radius": known.broken_radius[row]},
            }
            for row in rows
        ]
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, rows=np.array(rows), inputs=data.batch(rows)[0].numpy())
        write_atomically(folder / f"{CONTRADICTION}.npz", buffer.getvalue())
        write_atomically(folder / f"{CONTRADICTION}.json", json.dumps(facts, indent=1).encode() + b"\n")
        where = f"; both claims, the inputs and their rows are in {folder}"
    raise ContradictionError(
        f"examples {', '.join(map(str, rows))} are certified by {lower.method} and broken by {upper.method}: "
        f"one of the two is wrong{where}. Please report it"
    )
