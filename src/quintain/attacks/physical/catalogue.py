"""The registered attacks that could be printed, projected or worn."""

from quintain.attacks.guarantees import WITNESS
from quintain.core.registry import Entry

CATALOGUE: tuple[Entry, ...] = (
    Entry(
        "attack",
        "random-search",
        "quintain.attacks.physical.random_search:RandomSearch",
        "random changes, and then small changes of the best one: the least that any attack must beat",
        guarantee=WITNESS,
        facts=(
            ("serves", "linf l2 patch projection spatial colour negative compose"),
            ("access", "scores"),
            ("gap:linf", "0.4"),
            ("gap:l2", "0.5"),
            ("trial", "samples=15 steps=25"),
        ),
    ),
    Entry(
        "attack",
        "spatial-search",
        "quintain.attacks.physical.spatial_search:SpatialSearch",
        "every turn and shift of a grid: exact on the grid, and stronger than a gradient",
        guarantee=WITNESS,
        facts=(("serves", "spatial"), ("access", "scores"), ("trial", "shifts=3 angles=7")),
    ),
)
