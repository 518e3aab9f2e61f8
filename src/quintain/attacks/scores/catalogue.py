"""The registered attacks that ask for scores alone."""

from quintain.attacks.guarantees import WITNESS
from quintain.core.registry import Entry

CATALOGUE: tuple[Entry, ...] = (
    Entry(
        "attack",
        "square",
        "quintain.attacks.scores.square:Square",
        "random search with shrinking squares at the ends of the range: the strongest without gradients",
        guarantee=WITNESS,
        facts=(
            ("serves", "linf l2"),
            ("access", "scores"),
            ("gap", "0.01"),
            ("gap:l2", "0.3"),
            ("trial", "questions=80"),
            ("gap trial", "questions=1000"),
        ),
    ),
    Entry(
        "attack",
        "nes",
        "quintain.attacks.scores.nes:NES",
        "gradient ascent with gradients that pairs of normal probes tell",
        guarantee=WITNESS,
        facts=(("serves", "linf l2"), ("access", "scores"), ("gap", "0.08"), ("trial", "questions=200 pairs=5")),
    ),
    Entry(
        "attack",
        "spsa",
        "quintain.attacks.scores.spsa:SPSA",
        "gradient ascent with Adam, and gradients that pairs of random signs tell",
        guarantee=WITNESS,
        facts=(("serves", "linf l2"), ("access", "scores"), ("gap", "0.1"), ("trial", "questions=200 pairs=5")),
    ),
    Entry(
        "attack",
        "simba",
        "quintain.attacks.scores.simba:SimBA",
        "one value after another, up or down: simple, and exact where the model is nearly linear",
        guarantee=WITNESS,
        facts=(
            ("serves", "linf l2"),
            ("access", "scores"),
            ("gap", "0.01"),
            ("gap:l2", "0.03"),
            ("trial", "questions=80"),
            ("gap trial", "questions=500"),
        ),
    ),
    Entry(
        "attack",
        "one-pixel",
        "quintain.attacks.scores.one_pixel:OnePixel",
        "a pixel or a few, by trying all of them or by differential evolution",
        guarantee=WITNESS,
        facts=(("serves", "l0"), ("access", "scores"), ("gap", "0.01"), ("trial", "population=12 generations=5")),
    ),
    Entry(
        "attack",
        "sparse-rs",
        "quintain.attacks.scores.sparse_rs:SparseRS",
        "random search over a few pixels, a sticker or a frame, with extreme colours",
        guarantee=WITNESS,
        facts=(
            ("serves", "l0 mask patch"),
            ("access", "scores"),
            ("gap", "0.01"),
            ("trial", "questions=80"),
            ("gap trial", "questions=1000"),
        ),
    ),
)
