"""A run as a drill leaves it, built by hand: figures of the size that real ones have, pictures drawn from
nothing.

``python -m tests.report.sample OUT`` writes it with its report into a folder.
"""

import hashlib
import io
import math
import random
import sys
from dataclasses import replace
from itertools import pairwise, starmap
from pathlib import Path

import numpy as np
from PIL import Image

from quintain.report import write
from quintain.results import codec
from quintain.results.artifacts import ModelFile, Picture
from quintain.results.bounds import Bound, Bracket
from quintain.results.class_counts import ClassCounts
from quintain.results.evidence import ConfidenceLevels, CountEvidence
from quintain.results.gate import decide
from quintain.results.per_example import PerExample
from quintain.results.privacy_records import (
    AuditResult,
    AuditRun,
    FederateResult,
    LeakResult,
    MechanismTest,
    PrivacyPlan,
    PrivatizeResult,
    Reconstruction,
    RoundResult,
    SiteResult,
)
from quintain.results.quantity import Basis, Metric, Quantity, Side
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
    AttackDiagnostics,
    AttackedModel,
    AttackResult,
    AttackRow,
    BreakLog,
    CertifiedModel,
    CertifyResult,
    CheckResult,
    Finding,
    HardenResult,
    Indicator,
    StickerResult,
    TrainingRun,
    TrainResult,
)

SIZES = (2 / 255, 4 / 255, 8 / 255)
ASKED = (
    "robust_accuracy(linf:4/255) >= 0.65",
    "robust_accuracy(linf:4/255, model=plain) >= 0.5",
    "epsilon(delta=1e-5) <= 3.1",
)

_POSITIVES, _EXAMPLES = 390, 624
_DATA = ("xrays.test", hashlib.sha256(b"test").hexdigest())
_TRAIN = hashlib.sha256(b"train").hexdigest()
_MEAN = "no attack: the mean image"
_NEAR = "no attack: the nearest of 1024 public pictures"
_TITLES = {
    "plain": "plain training",
    "adversarial": "adversarial training",
    "certified": "certified training",
    "private": "private model",
    "smoothed": "smoothed model",
    "federated": "federated model",
}
_COUNTS = {
    "plain": ((537, 0, 0, 0), (537, 457, 372, 94)),
    "adversarial": ((527, 0, 0, 0), (527, 501, 458, 382)),
    "certified": ((521, 488, 455, 357), (521, 494, 461, 396)),
}
"""Right answers that are proved, and that stand under attack, at size 0 and at each of SIZES."""


def run(folder: Path) -> tuple[Record, ...]:
    """Every record of a drill; its pictures are written into the folder."""
    robustness, claims = zip(*(_robustness(name) for name in _COUNTS), strict=True)
    smooth, smooth_claims = _smoothed()
    privacy = (_epsilon(), *(clean(name, tally) for name, tally in tallies().items()))
    every = (*(claim for group in claims for claim in group), *smooth_claims, *privacy)
    judged = tuple(decide(Requirement.parse(text), every) for text in ASKED)
    attacks = {name: _attacks(name, folder) for name in _COUNTS}
    bodies: list[tuple[StepResult, tuple[Claim, ...], float]] = [
        (_checked(), (), 1.4),
        (TrainResult(_training("plain", "8 epochs, Adam 1e-3")), (clean("plain", tallies()["plain"]),), 6.2),
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
                    _training("adversarial", "PGD training at 6/255, 40 epochs"),
                    _training("certified", "interval training to 6/255, 40 epochs"),
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
        (_privatized(), (clean("private", tallies()["private"]),), 31.4),
        (_audited(), (_epsilon(),), 24.6),
        (leaked(folder), (), 12.3),
        (_federated(), (), 26.4),
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
        data=NamedHash(*_DATA),
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
        ("keep the share of clipped gradients with the data's owner: it is computed without noise",)
        if body.kind == "privatize"
        else ()
    )
    return Record(SCHEMA, provenance, claims, body, judged, notes)


def accuracy(
    name: str,
    title: str,
    lower: int | None,
    upper: int | None,
    *,
    trials: int = _EXAMPLES,
    token: str = "linf:4/255",
    **more: object,
) -> Claim:
    """An accuracy claim from counts; None leaves a side trivial."""
    kind = Metric.ROBUST_ACCURACY if token else Metric.CLEAN_ACCURACY
    model = name.partition(":")[0]
    of = Quantity(kind, hashlib.sha256(model.encode()).hexdigest(), _DATA[1], token)
    below, above = Bound.trivial(of, Side.LOWER), Bound.trivial(of, Side.UPPER)
    if lower is not None:
        below = Bound(
            of,
            Side.LOWER,
            lower / trials,
            Basis.PROOF,
            CountEvidence(lower, trials),
            "interval bounds",
            ("float32 rounding is small",),
        )
    if upper is not None:
        above = Bound(
            of, Side.UPPER, upper / trials, Basis.WITNESS, CountEvidence(upper, trials), "fgsm + pgd-20"
        )
    claim = Claim(name, title, model, Bracket(below, above, _POSITIVES / _EXAMPLES))
    return replace(claim, **more)  # type: ignore[arg-type]


def clean(name: str, tally: ClassCounts) -> Claim:
    """Accuracy without a threat."""
    title = f"Accuracy, {_TITLES[name]}"
    return accuracy(
        f"{name}:clean",
        title,
        tally.num_correct,
        tally.num_correct,
        token="",
        lower_counts=tally,
        upper_counts=tally,
    )


def leaked(folder: Path) -> LeakResult:
    """One hospital's X-ray, and what is rebuilt of it."""
    image = _xray(3)
    noise = np.random.default_rng(4)
    mean = np.mean([_xray(seed) for seed in range(40)], axis=0)
    attempts = []
    for number, (setting, grain, quality, mark) in enumerate(
        (
            ("a plain update", 0.015, 33.1, "bad"),
            ("a securely aggregated sum of 5", 0.17, 14.2, "good"),
            ("a privatized update (noise 1 C)", 0.4, 7.8, "good"),
        )
    ):
        picture = store(
            folder,
            f"leak-{number}",
            image + grain * noise.standard_normal(image.shape),
            f"from {setting}, {quality} dB",
            mark,
        )
        attempts.append(Reconstruction(setting, quality, picture, mark == "bad", 1, 22.0, (quality,)))
    floor = Reconstruction(
        _MEAN, 19.4, store(folder, "leak-mean", mean, f"{_MEAN}, 19.4 dB", "reference"), False
    )
    near = Reconstruction(
        _NEAR, 22.0, store(folder, "leak-nearest", _xray(5), f"{_NEAR}, 22.0 dB", "reference"), False
    )
    return LeakResult(
        store(folder, "leak-original", image, "the X-ray", ""),
        tuple(attempts),
        floor,
        1.0,
        12.3,
        near,
        (22.0,),
    )


def store(folder: Path, name: str, image: np.ndarray, caption: str, mark: str = "") -> Picture:
    """A grey picture as a PNG of the run folder."""
    buffer = io.BytesIO()
    Image.fromarray((np.clip(image, 0, 1) * 255).astype(np.uint8)).save(buffer, "PNG")
    path = Path("pictures") / f"{name}.png"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(buffer.getvalue())
    return Picture(path.as_posix(), hashlib.sha256(buffer.getvalue()).hexdigest(), caption, mark)  # type: ignore[arg-type]


def save(records: tuple[Record, ...], folder: Path) -> None:
    """The records as a drill stores them, beside the settings file of the run."""
    (folder / "run.json").write_text('{"seed": 7}')
    for number, one in enumerate(records, 1):
        codec.save(one, folder / f"{number:02}-{one.result.kind}.json")


def _model(name: str) -> ModelFile:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return ModelFile(name, _TITLES[name], digest, 109_442, f"models/{name}.safetensors", digest)


def tallies() -> dict[str, ClassCounts]:
    return {
        "plain": ClassCounts((158, 379), (234, 390)),
        "adversarial": ClassCounts((155, 372), (234, 390)),
        "certified": ClassCounts((161, 360), (234, 390)),
        "private": ClassCounts((149, 369), (234, 390)),
        "federated": ClassCounts((150, 377), (234, 390)),
    }


def _training(name: str, plan: str) -> TrainingRun:
    return TrainingRun(
        _model(name), tallies()[name], (0.51, 0.32, 0.24), 41.0 if name != "plain" else 6.2, plan
    )


def _examples(name: str) -> PerExample:
    """Two radii an example, such that both counts are met exactly at every size."""
    proved, standing = _COUNTS[name]
    tally = tallies()[name]
    draw = random.Random(7)
    ranked = sorted(
        (draw.random() - 0.4 * label, label) for label in (1, 0) for _ in range(tally.correct[label])
    )
    wrong = [1] * (tally.total[1] - tally.correct[1]) + [0] * (tally.total[0] - tally.correct[0])
    labels = [label for _, label in ranked] + wrong
    safe = [_radius(rank, proved, above=True) for rank in range(len(ranked))] + [0.0] * len(wrong)
    broken = [_radius(rank, standing, above=False) for rank in range(len(ranked))] + [0.0] * len(wrong)
    predicted = [*labels[: len(ranked)], *(1 - label for label in wrong)]
    ids = tuple(range(len(labels)))
    return PerExample(
        ids, tuple(labels), tuple(predicted), tuple(safe), tuple(broken), (False,) * len(labels)
    )


def _radius(rank: int, counts: tuple[int, ...], *, above: bool) -> float:
    """The radius of the example at a rank, the strongest first: between two sizes as evenly as the counts
    want it.
    """
    sizes = (0.0, *SIZES)
    for (low, high), (more, fewer) in zip(pairwise(sizes), pairwise(counts), strict=True):
        if fewer <= rank < more:
            part = (more - (1 if above else 0) - rank) / (more - fewer)
            return low if above and counts[1] == 0 else low * (1 - part) + high * part
    return sizes[-1] if above else math.inf


def _robustness(name: str) -> tuple[CertifiedModel, tuple[Claim, ...]]:
    examples = _examples(name)
    curve = tuple(8 / 255 * step / 48 for step in range(49))
    claims = []
    for size, token in zip(SIZES, ("2/255", "4/255", "8/255"), strict=True):
        below, above = examples.certified_counts(size, 2), examples.unbroken_counts(size, 2)
        title = f"Robust accuracy, {_TITLES[name]}"
        claims.append(
            accuracy(
                f"{name}:linf:{token}",
                title,
                below.num_correct,
                above.num_correct,
                token=f"linf:{token}",
                primary=name == "certified",
                lower_counts=below,
                upper_counts=above,
            )
        )
    return CertifiedModel(name, name, "interval bounds", "linf", examples, SIZES, 2, curve, 0.7), tuple(
        claims
    )


def _smoothed() -> tuple[CertifiedModel, tuple[Claim, ...]]:
    """A hundred X-rays, certified by draws."""
    draw = random.Random(3)
    labels = tuple(int(row < 62) for row in range(100))
    right = tuple(draw.random() < (0.93 if label else 0.68) for label in labels)
    safe = tuple(abs(draw.gauss(0.55, 0.22)) if fine else 0.0 for fine in right)
    broken = tuple(
        radius + abs(draw.gauss(0.08, 0.08)) + 0.01 if fine else 0.0
        for radius, fine in zip(safe, right, strict=True)
    )
    broken = tuple(math.inf if radius > 1 else radius for radius in broken)
    predicted = tuple(label if fine else 1 - label for label, fine in zip(labels, right, strict=True))
    examples = PerExample(tuple(range(100)), labels, predicted, safe, broken, (False,) * 100)
    claims = []
    for size in (0.25, 0.5, 0.75):
        below, above = examples.certified_counts(size, 2), examples.unbroken_counts(size, 2)
        of = Quantity(Metric.ROBUST_ACCURACY, hashlib.sha256(b"smoothed").hexdigest(), _DATA[1], f"l2:{size}")
        lower = Bound(
            of,
            Side.LOWER,
            below.accuracy,
            Basis.STATISTICAL,
            CountEvidence(below.num_correct, 100, 1e-3),
            "smoothing, sigma 0.25, 10,000 draws",
        )
        upper = Bound(
            of,
            Side.UPPER,
            above.accuracy,
            Basis.STATISTICAL,
            CountEvidence(above.num_correct, 100, 1e-3),
            "pgd-20 on the smoothed scores",
        )
        bracket = Bracket(lower, upper, above.majority_accuracy)
        claims.append(
            Claim(
                f"smoothed:l2:{size}",
                "Robust accuracy, smoothed model",
                "smoothed",
                bracket,
                lower_counts=below,
                upper_counts=above,
            )
        )
    curve = tuple(step / 48 for step in range(49))
    return CertifiedModel(
        "smoothed",
        "smoothed, sigma 0.25",
        "smoothing, 10,000 draws",
        "l2",
        examples,
        (0.25, 0.5, 0.75),
        2,
        curve,
        19.0,
    ), tuple(claims)


def _attacks(name: str, folder: Path) -> AttackedModel:
    examples = _examples(name)
    bare = PerExample(
        examples.ids,
        examples.labels,
        examples.predicted,
        (0.0,) * len(examples.ids),
        examples.broken_radius,
        examples.invalid,
    )
    rows = []
    for size, token in zip(SIZES, ("linf:2/255", "linf:4/255", "linf:8/255"), strict=True):
        after = examples.unbroken_counts(size, 2)
        weaker = ClassCounts(
            tuple(min(hits + 6, total) for hits, total in zip(after.correct, after.total, strict=True)),
            after.total,
        )
        right = examples.unbroken_counts(0.0, 2).num_correct
        lost, few = right - after.num_correct, right - weaker.num_correct
        asked = (
            (0, right),
            (3, right - few // 2),
            (9, after.num_correct + lost // 8),
            (22, after.num_correct),
        )
        rows.append(
            AttackRow("fgsm", token, weaker, 2.0, 0.86, 0.1, size, few, ((0, right), (2, weaker.num_correct)))
        )
        rows.append(AttackRow("pgd-20", token, after, 12.4, 11.2, 2.1, size, lost, asked))
    gallery = tuple(_fooled(folder, name, seed) for seed in range(4)) if name == "plain" else ()
    return AttackedModel(
        name, name, tuple(rows), bare, "linf", gallery, _breaks(bare), _trust(name == "adversarial")
    )


def _breaks(examples: PerExample) -> BreakLog:
    """One in nine by the second attack."""
    by, found = [], []
    for row, radius in enumerate(examples.broken_radius):
        fallen = 0 < radius < math.inf
        by.append(
            "unchanged" if radius == 0 else ("pgd-20: margin" if row % 9 == 0 else "fgsm") if fallen else ""
        )
        found.append(3 if fallen else 0)
    cost = tuple(0 if name == "unchanged" else 25 for name in by)
    return BreakLog(tuple(by), tuple(found), cost, cost, (False,) * len(by))


def _trust(doubtful: bool) -> AttackDiagnostics:
    many = 3 if doubtful else 0
    signs = (
        Indicator("zero gradients", 0.0, 0.05, False, "the gradient is zero on 0 % of the examples"),
        Indicator(
            "random points beat the attacks",
            many / 50,
            0.0,
            doubtful,
            f"random points broke {many} of 31 examples that the attacks left",
        ),
    )
    return AttackDiagnostics(signs, 50)


def _fooled(folder: Path, name: str, seed: int) -> tuple[Picture, ...]:
    image = _xray(seed)
    change = 4 / 255 * np.sign(np.random.default_rng(seed).standard_normal(image.shape))
    answers = ("pneumonia", "normal") if seed % 2 else ("normal", "pneumonia")
    return (
        store(folder, f"{name}-linf-{seed}-clean", image, f"{answers[0]} {97 - seed} %"),
        store(folder, f"{name}-linf-{seed}-change", 0.5 + 10 * change, "change x10, 4.0/255"),
        store(
            folder, f"{name}-linf-{seed}-adversarial", image + change, f"{answers[1]} {81 + seed} %", "bad"
        ),
    )


def _xray(seed: int) -> np.ndarray:
    """Something that looks like a chest from far away."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:28, 0:28] / 27.0
    image = 0.75 - 0.25 * np.abs(x - 0.5) + 0.1 * draw.random()
    for centre in (0.28, 0.72):
        lung = ((x - centre - 0.02 * draw.standard_normal()) / 0.15) ** 2 + ((y - 0.48) / 0.3) ** 2
        image -= (0.35 + 0.15 * draw.random()) * np.exp(-(lung**2))
    return np.clip(image + 0.02 * draw.standard_normal(image.shape), 0, 1)


def _epsilon() -> Claim:
    of = Quantity(
        Metric.EPSILON,
        "mechanism",
        _TRAIN,
        delta=1e-5,
        adjacency="add/remove",
        privacy_unit="image",
        released="all iterates",
    )
    upper = Bound(
        of,
        Side.UPPER,
        2.998,
        Basis.PROOF,
        None,
        "PLD (dp-accounting)",
        ("Gaussian noise and Poisson sampling as specified",),
    )
    return Claim(
        "private:epsilon audited",
        "Privacy of each record, audited",
        "private",
        Bracket(_audit_bound(0.93), upper),
        primary=True,
    )


def _audit_bound(value: float) -> Bound:
    of = Quantity(
        Metric.EPSILON,
        "mechanism",
        _TRAIN,
        delta=1e-5,
        adjacency="add/remove",
        privacy_unit="image",
        released="all iterates",
    )
    levels = ConfidenceLevels((0.95, 0.99, 0.999, 1 - 1e-6), (value, 0.8 * value, 0.6 * value, 0.3 * value))
    return Bound(of, Side.LOWER, value, Basis.STATISTICAL, levels, "one-run audit, 500 canaries")


def _plan() -> PrivacyPlan:
    return PrivacyPlan(1.12, 1.0, 512, 512 / 4708, 276, 1e-5, 2.998, "PLD (dp-accounting)")


def _privatized() -> PrivatizeResult:
    return PrivatizeResult(
        _training("private", "DP-SGD, 276 steps, noise 1.12, clip 1"), tallies()["plain"], _plan(), 0.34
    )


def _audited() -> AuditResult:
    bins = tuple(-4 + 0.4 * step for step in range(31))

    def counts(centre: float, width: float) -> tuple[int, ...]:
        draw = random.Random(f"{centre}")
        scores = [draw.gauss(centre, width) for _ in range(250)]
        return tuple(sum(low <= score < high for score in scores) for low, high in pairwise(bins))

    plan = AuditRun(
        "the plan", _audit_bound(0.93), 5.1, 500, 120, 87, 0.95, bins, counts(1.1, 1.0), counts(0.0, 1.01)
    )
    control = AuditRun(
        "control: no noise",
        _audit_bound(4.86),
        5.1,
        500,
        400,
        399,
        0.95,
        bins,
        counts(5.5, 0.8),
        counts(0.02, 0.5),
    )
    tests = (
        MechanismTest("noise", 1.12, 1.1187, 0.61, True, "spread of the noise in 240 steps"),
        MechanismTest("inclusion", 0.1087, 0.1091, 0.43, True, "share of records in a step, over 240 steps"),
    )
    return AuditResult(_plan(), plan, control, tests)


def _checked() -> CheckResult:
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


def _federated() -> FederateResult:
    names = ("St. Anna", "Charité", "Lakeside", "Mercy", "Oakwood")
    sites = tuple(
        SiteResult(name, (220 + 17 * k, 640 + 31 * k), ClassCounts((140 - 3 * k, 366 - 5 * k), (234, 390)))
        for k, name in enumerate(names)
    )
    rounds = []
    for number, right in enumerate(((31, 386), (96, 372), (128, 370), (143, 371), (147, 375), (150, 377)), 1):
        dropped = ("Lakeside",) if number == 3 else ()
        survivors = tuple(name for name in names if name not in dropped)
        rounds.append(
            RoundResult(
                number,
                ClassCounts(right, (234, 390)),
                survivors,
                dropped,
                True,
                len(survivors),
                448_260,
                0.021 + 0.01 * len(dropped),
            )
        )
    return FederateResult(
        _model("federated"),
        sites,
        tuple(rounds),
        ClassCounts((157, 380), (234, 390)),
        "Bonawitz et al. 2017, 5 clients, threshold 4",
    )


def main(out: str) -> Path:
    """Write the run and its report."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    save(run(folder), folder)
    return write(folder)


if __name__ == "__main__":
    sys.stdout.write(f"{main(sys.argv[1])}\n")
