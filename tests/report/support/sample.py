"""A run as a drill leaves it, built by hand.

``python -m tests.report.support.sample OUT`` writes it with its report into a folder.
"""

import sys
from itertools import starmap
from pathlib import Path

from quintain.report import write
from quintain.results import codec
from quintain.results.gate import decide
from quintain.results.records import (
    SCHEMA,
    Claim,
    DrillResult,
    NamedHash,
    PackageVersion,
    Provenance,
    Record,
    RequirementResult,
    StepResult,
    StepTiming,
)
from quintain.results.requirements import Requirement
from quintain.results.robustness_records import (
    AttackResult,
    CertifyResult,
    CheckResult,
    Finding,
    HardenResult,
    StickerResult,
    TrainResult,
)
from tests.report.support.claims import DATA, clean, tallies, training_run
from tests.report.support.privacy import audited, epsilon_claim, privatized
from tests.report.support.robustness import COUNTS, attacked_model, certified_model, smoothed_model
from tests.report.support.updates import federated, leaked

REQUIREMENTS = (
    "robust_accuracy(linf:4/255) >= 0.65",
    "robust_accuracy(linf:4/255, model=plain) >= 0.5",
    "epsilon(delta=1e-5) <= 3.1",
)


def run(folder: Path) -> tuple[Record, ...]:
    """Every record of a drill; its pictures are written into the folder."""
    robustness, claims = zip(*(certified_model(name) for name in COUNTS), strict=True)
    smooth, smooth_claims = smoothed_model()
    privacy = (epsilon_claim(), *(clean(name, tally) for name, tally in tallies().items()))
    every = (*(claim for group in claims for claim in group), *smooth_claims, *privacy)
    judged = tuple(decide(Requirement.parse(text), every) for text in REQUIREMENTS)
    attacks = {name: attacked_model(name, folder) for name in COUNTS}
    bodies: list[tuple[StepResult, tuple[Claim, ...], float]] = [
        (checked(), (), 1.4),
        (
            TrainResult(training_run("plain", "8 epochs, Adam 1e-3")),
            (clean("plain", tallies()["plain"]),),
            6.2,
        ),
        (
            AttackResult(
                (attacks["plain"],),
                (StickerResult("plain", "a side marker of metal", 0.06, "normal", 376, 44, 1),),
            ),
            (),
            9.8,
        ),
        (
            HardenResult(
                (
                    training_run("adversarial", "PGD training at 6/255, 40 epochs"),
                    training_run("certified", "interval training to 6/255, 40 epochs"),
                ),
                (attacks["adversarial"], attacks["certified"]),
            ),
            tuple(clean(name, tallies()[name]) for name in ("adversarial", "certified")),
            88.1,
        ),
        (
            CertifyResult((*robustness, smooth)),
            (*(claim for group in claims for claim in group), *smooth_claims),
            21.0,
        ),
        (privatized(), (clean("private", tallies()["private"]),), 31.4),
        (audited(), (epsilon_claim(),), 24.6),
        (leaked(folder), (), 12.3),
        (federated(), (), 26.4),
    ]
    steps = tuple(
        StepTiming(body.kind, seconds, f"{number:02}-{body.kind}.json")
        for number, (body, _, seconds) in enumerate(bodies, 1)
    )
    records = [record(body, claims, seconds=seconds) for body, claims, seconds in bodies]
    records.append(
        record(
            DrillResult(steps, judged, 1_930_000_000, False), (), seconds=sum(step.seconds for step in steps)
        )
    )
    return tuple(records)


def record(
    body: StepResult,
    claims: tuple[Claim, ...] = (),
    *,
    seconds: float = 1.0,
    judged: tuple[RequirementResult, ...] = (),
) -> Record:
    """A record with the provenance that all of them share."""
    private = body.kind in ("privatize", "audit")
    provenance = Provenance(
        command="quintain drill --seed 7 --out runs/2026-11-24",
        seed=7,
        data=NamedHash(*DATA),
        models=(),
        started="2026-11-24T13:04:00+00:00",
        seconds=seconds,
        versions=tuple(
            starmap(
                PackageVersion,
                (("quintain", "0.1.0"), ("python", "3.11.7"), ("torch", "2.8.0"), ("numpy", "2.3.1")),
            )
        ),
        device="cpu",
        dtype="float32",
        threads=2,
        platform="Linux x86_64",
        reproducible=not private,
    )
    notes = (
        ("keep the fraction of clipped gradients with the data's owner: it is computed without noise",)
        if body.kind == "privatize"
        else ()
    )
    return Record(SCHEMA, provenance, claims, body, judged, notes)


def checked() -> CheckResult:
    findings = (
        Finding("value range", "ok", "0.000 to 1.000 in every split"),
        Finding("normalisation", "ok", "inside the model"),
        Finding("duplicates", "warning", "20 training rows repeat another one; 0 are shared between parts"),
        Finding(
            "class balance",
            "note",
            "62.5 % pneumonia in test: a constant answer is right and robust at 62.5 %",
        ),
        Finding("determinism", "ok", "two passes agree exactly"),
    )
    return CheckResult(
        findings,
        (("train", (1214, 3494)), ("val", (135, 389)), ("test", (234, 390))),
        ("normal", "pneumonia"),
        (1, 28, 28),
    )


def save(records: tuple[Record, ...], folder: Path) -> None:
    """The records as a drill stores them, beside the settings file of the run."""
    (folder / "run.json").write_text('{"seed": 7}')
    for number, one in enumerate(records, 1):
        codec.save(one, folder / f"{number:02}-{one.result.kind}.json")


def record_of(records: tuple[Record, ...], kind: type) -> Record:
    return next(one for one in records if isinstance(one.result, kind))


def main(out: str) -> Path:
    """Write the run and its report."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    save(run(folder), folder)
    return write(folder)


if __name__ == "__main__":
    sys.stdout.write(f"{main(sys.argv[1])}\n")
