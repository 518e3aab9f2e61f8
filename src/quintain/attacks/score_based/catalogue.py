"""The registered score-based attacks."""

from quintain.attacks.guarantees import WITNESS
from quintain.core.registry import Entry

CATALOGUE: tuple[Entry, ...] = (
    Entry(
        "attack",
        "square",
        "quintain.attacks.score_based.square:Square",
        "random search with shrinking squares at the ends of the range: the strongest without gradients",
        guarantee=WITNESS,
        facts=(
            ("supports", "linf l2"),
            ("access", "scores"),
            ("optimality_gap", "0.01"),
            ("optimality_gap:l2", "0.3"),
            ("test_settings", "queries=80"),
            ("gap_test_settings", "queries=1000"),
        ),
    ),
    Entry(
        "attack",
        "nes",
        "quintain.attacks.score_based.nes:NES",
        "gradient ascent with gradients that pairs of normal probes tell",
        guarantee=WITNESS,
        facts=(("supports", "linf l2"), ("access", "scores"), ("optimality_gap", "0.08"), ("test_settings", "queries=200 pairs=5")),
    ),
    Entry(
        "attack",
        "spsa",
        "quintain.attacks.score_based.spsa:SPSA",
        "gradient ascent with Adam, and gradients that pairs of random signs tell",
        guarantee=WITNESS,
        facts=(("supports", "linf l2"), ("access", "scores"), ("optimality_gap", "0.1"), ("test_settings", "queries=200 pairs=5")),
    ),
    Entry(
        "attack",
        "simba",
        "quintain.attacks.score_based.simba:SimBA",
        "one value after another, up or down: simple, and exact where the model is nearly linear",
        guarantee=WITNESS,
        facts=(
            ("supports", "linf l2"),
            ("access", "scores"),
            ("optimality_gap", "0.01"),
            ("optimality_gap:l2", "0.03"),
            ("test_settings", "queries=80"),
            ("gap_test_settings", "queries=500"),
        ),
    ),
    Entry(
        "attack",
        "one-pixel",
        "quintain.attacks.score_based.one_pixel:OnePixel",
        "a pixel or a few, by trying all of them or by differential evolution",
        guarantee=WITNESS,
        facts=(("supports", "l0"), ("access", "scores"), ("optimality_gap", "0.01"), ("test_settings", "population=12 generations=5")),
    ),
    Entry(
        "attack",
        "sparse-rs",
        "quintain.attacks.score_based.sparse_rs:SparseRS",
        "random search over a few pixels, a sticker or a frame, with extreme colors",
        guarantee=WITNESS,
        facts=(
            ("supports", "l0 mask patch"),
            ("access", "scores"),
            ("optimality_gap", "0.01"),
            ("test_settings", "queries=80"),
            ("gap_test_settings", "queries=1000"),
        ),
    ),
)
