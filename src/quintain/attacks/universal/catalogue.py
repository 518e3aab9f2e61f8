"""The registered random and grid searches over threats of the physical world."""

from quintain.attacks.guarantees import WITNESS
from quintain.core.registry import Entry

CATALOGUE: tuple[Entry, ...] = (
    Entry(
        "attack",
        "random-search",
        "quintain.attacks.score_based.random_search:RandomSearch",
        "random changes, and then small changes of the best one: the least that any attack must beat",
        guarantee=WITNESS,
        facts=(
            ("supports", "linf l2 patch light spatial color negative compose"),
            ("access", "scores"),
            ("optimality_gap:linf", "0.4"),
            ("optimality_gap:l2", "0.5"),
            ("test_settings", "samples=15 steps=25"),
        ),
    ),
    Entry(
        "attack",
        "spatial-search",
        "quintain.attacks.score_based.spatial_search:SpatialSearch",
        "every turn and shift of a grid: exact on the grid, and stronger than a gradient",
        guarantee=WITNESS,
        facts=(("supports", "spatial"), ("access", "scores"), ("test_settings", "shifts=3 angles=7")),
    ),
)
