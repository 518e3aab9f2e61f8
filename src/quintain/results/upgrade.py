"""Records of older schemas, rewritten into today's by a table of renamed keys for each kind of object.

Keys and the form of provenance change; every value stays as it is, hashes and threat specs included,
so that a claim keeps its subject.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from quintain.core.errors import RunFolderError
from quintain.core.threat_specs import parse_number, size_text

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of object in a record of schema 1.

    Args:
        renamed: Old key to new key; keys that are not named stay.
        inside: Old key to the shape of the object under it, or of each object in the list under it.
        rewritten: Old key to what makes the new value of the old one, where its form changed.
        completed: Adds what schema 1 did not always have and what follows from the rest.
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    inside: Mapping[str, "Shape"] = field(default_factory=dict)
    rewritten: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    completed: Callable[[Json], Json] = lambda value: value


def _pairs(*keys: str) -> Callable[[Any], Any]:
    """A list of pairs as a list of objects with these two keys."""
    return lambda value: [_pair(*keys)(one) for one in value] if isinstance(value, list) else value


def _pair(*keys: str) -> Callable[[Any], Any]:
    """A pair as an object with these two keys; what is no pair is left for the decoder to refuse."""
    return lambda value: (
        dict(zip(keys, value, strict=True)) if isinstance(value, list) and len(value) == len(keys) else value
    )


def _with_eps(row: Json) -> Json:
    """A row of an attack with its size: the first records named it in the threat alone."""
    try:
        return {"eps": parse_number(size_text(row["threat"])), **row}
    except (KeyError, AttributeError, ValueError):
        return row


PICTURE = Shape({"mark": "frame"})
MODEL_FILE = Shape({"subject": "model_hash", "parameters": "num_parameters"})
CLASS_COUNTS = Shape({"right": "correct"})
PER_EXAMPLE = Shape({"safe_radius": "certified_radius", "failed": "invalid"})
QUANTITY = Shape({"kind": "metric", "subject": "subject_hash", "data": "data_hash", "unit": "privacy_unit"})
BOUND = Shape({"of": "quantity", "assumes": "assumptions"}, {"of": QUANTITY})
BRACKET = Shape({"crossed": "num_contradictory", "errors": "num_invalid"}, {"lower": BOUND, "upper": BOUND})
VERDICT = Shape({"answer": "decision", "why": "reason"})
REQUIREMENT_RESULT = Shape({"claim": "claim_name"}, {"verdict": VERDICT})
CLAIM = Shape(
    {"delivered": "primary", "proved": "lower_counts", "standing": "upper_counts"},
    {"bracket": BRACKET, "proved": CLASS_COUNTS, "standing": CLASS_COUNTS},
)
PROVENANCE = Shape(
    rewritten={
        "data": _pair("name", "hash"),
        "models": _pairs("name", "hash"),
        "versions": _pairs("package", "version"),
    },
)

FINDING = Shape({"text": "message"})
TRAINING_RUN = Shape(
    {"clean": "clean_counts", "plan": "settings"}, {"model": MODEL_FILE, "clean": CLASS_COUNTS}
)
ATTACK_ROW = Shape(
    {"standing": "unbroken_counts", "broken": "num_broken", "queries": "correct_by_queries"},
    {"standing": CLASS_COUNTS},
    completed=_with_eps,
)
BREAK_LOG = Shape({"by": "found_by", "found": "queries_to_success", "proved": "skipped_certified"})
INDICATOR = Shape({"fired": "triggered", "evidence": "message"})
DIAGNOSTICS = Shape({"signs": "indicators", "examples": "num_probed"}, {"signs": INDICATOR})
ATTACKED_MODEL = Shape(
    {
        "ball": "threat_type",
        "breaks": "break_log",
        "trust": "diagnostics",
        "target": "target_class",
        "halted": "stop_reason",
        "unfinished": "num_unattacked",
    },
    {
        "rows": ATTACK_ROW,
        "examples": PER_EXAMPLE,
        "gallery": PICTURE,
        "breaks": BREAK_LOG,
        "trust": DIAGNOSTICS,
    },
)
STICKER = Shape(
    {"what": "description", "target": "target_class", "reached": "successes", "control": "control_successes"},
    {"gallery": PICTURE},
)
CERTIFIED_MODEL = Shape(
    {"ball": "threat_type", "asked": "requested_eps", "classes": "num_classes", "curve": "curve_eps"},
    {"examples": PER_EXAMPLE},
)
STATEMENT = Shape(
    {
        "least": "epsilon_lower_bound",
        "telling": "adversary_accuracy",
        "unit": "privacy_unit",
        "assumes": "assumptions",
    },
)
PRIVATE_RUN = Shape({"clean": "clean_counts"}, {"clean": CLASS_COUNTS})
AUDIT_RUN = Shape(
    {
        "ceiling": "max_auditable_epsilon",
        "bins": "bin_edges",
        "inside": "included_counts",
        "outside": "excluded_counts",
        "repeats": "repeated_epsilons",
    },
    {"lower": BOUND},
)
MECHANISM_TEST = Shape({"text": "message"})
RECONSTRUCTION = Shape(
    {
        "setting": "update_type",
        "floor": "baseline_psnr",
        "sites": "psnr_by_site",
        "missing": "failure_reason",
    },
    {"picture": PICTURE},
)
SITE = Shape({"classes": "class_counts", "alone": "local_counts"}, {"alone": CLASS_COUNTS})
ROUND = Shape(
    {
        "number": "round",
        "global_model": "global_counts",
        "exact": "sum_exact",
        "vectors_seen": "masked_vectors",
        "bytes_up": "bytes_uploaded",
    },
    {"global_model": CLASS_COUNTS},
)

RESULTS: Mapping[str, Shape] = {
    "check": Shape({"classes": "class_counts"}, {"findings": FINDING}),
    "train": Shape({}, {"training": TRAINING_RUN}),
    "attack": Shape({"attacks": "models"}, {"attacks": ATTACKED_MODEL, "stickers": STICKER}),
    "harden": Shape({"attacks": "models"}, {"attacks": ATTACKED_MODEL, "trainings": TRAINING_RUN}),
    "certify": Shape({"robustness": "models"}, {"robustness": CERTIFIED_MODEL}),
    "privatize": Shape(
        {
            "plain": "nonprivate_counts",
            "clipped": "clipped_fraction",
            "assurance": "statement",
            "curve": "epsilon_sweep",
            "batches": "batch_size_sweep",
            "together": "composed_epsilon",
            "broke_off": "stop_reason",
        },
        {
            "training": TRAINING_RUN,
            "plain": CLASS_COUNTS,
            "assurance": STATEMENT,
            "curve": PRIVATE_RUN,
            "batches": PRIVATE_RUN,
        },
    ),
    "plan": Shape(
        {
            "budget": "target_epsilon",
            "records": "dataset_size",
            "fitting": "steps_within_budget",
            "batches": "batch_sizes",
            "steps": "step_counts",
            "noise": "noise_grid",
            "cost": "epsilon_grid",
        },
    ),
    "audit": Shape(
        {"run": "audit", "specification": "mechanism_tests"},
        {"run": AUDIT_RUN, "control": AUDIT_RUN, "specification": MECHANISM_TEST},
    ),
    "leak": Shape(
        {
            "attempts": "reconstructions",
            "baseline": "mean_image",
            "noise": "noise_multiplier",
            "nearest": "nearest_image",
            "floors": "baseline_psnr_by_site",
            "constant": "constant_image",
        },
        {
            "original": PICTURE,
            "attempts": RECONSTRUCTION,
            "baseline": RECONSTRUCTION,
            "nearest": RECONSTRUCTION,
            "constant": RECONSTRUCTION,
        },
    ),
    "federate": Shape(
        {"pooled": "centralized_counts"},
        {"model": MODEL_FILE, "sites": SITE, "rounds": ROUND, "pooled": CLASS_COUNTS},
    ),
    "drill": Shape(
        {"judged": "requirements", "peak_memory": "peak_memory_bytes"}, {"judged": REQUIREMENT_RESULT}
    ),
}
"""What each step found, by its stored kind."""

RECORD_RENAMED = {"body": "result", "judged": "requirements"}
"""Of the whole record."""


def from_schema_1(document: Json) -> Json:
    """A record of schema 1 as one of schema 2.

    Args:
        document: The parsed JSON; it is not changed.

    Raises:
        RunFolderError: If it has a key that schema 1 did not have where schema 2 has one: two keys would meet
            in one place.
    """
    body = document.get("body")
    result = RESULTS.get(str(body.get("kind")), Shape()) if isinstance(body, dict) else Shape()
    record = Shape(
        RECORD_RENAMED,
        {"provenance": PROVENANCE, "claims": CLAIM, "body": result, "judged": REQUIREMENT_RESULT},
    )
    return {**_rewritten(document, record, ""), "schema": 2}


def _rewritten(value: Any, shape: Shape, path: str) -> Any:
    """Return a value with the keys of schema 2.

    An object of this shape, a list of them, or what is neither and left for the decoder.
    """
    if isinstance(value, list):
        return [_rewritten(one, shape, f"{path}{place}.") for place, one in enumerate(value)]
    if not isinstance(value, dict):
        return value
    strange = (set(shape.renamed.values()) - shape.renamed.keys()) & value.keys()
    if strange:
        old = next(key for key, new in shape.renamed.items() if new in strange)
        raise RunFolderError(f"{path}{shape.renamed[old]} is no key of schema 1, where it is called {old!r}")
    return shape.completed(
        {shape.renamed.get(key, key): _inside(key, one, shape, f"{path}{key}.") for key, one in value.items()}
    )


def _inside(key: str, value: Any, shape: Shape, path: str) -> Any:
    if key in shape.rewritten:
        return shape.rewritten[key](value)
    return _rewritten(value, shape.inside[key], path) if key in shape.inside else value
