"""The registered threats."""

from quintain.core.registry import Entry

CATALOGUE = (
    Entry(
        "threat",
        "linf",
        "quintain.threats.linf:Linf",
        "every pixel may move by at most eps (linf:8/255)",
        guarantee="projection is the nearest allowed point, rounded inwards; sizes are exact in float64",
        facts=(("family", "ball"), ("example", "linf:8/255")),
    ),
    Entry(
        "threat",
        "l2",
        "quintain.threats.l2:L2",
        "the change's Euclidean length is at most eps (l2:0.5)",
        guarantee="projection is the nearest point of ball and box, rounded inwards; sizes are exact in float64",
        facts=(("family", "ball"), ("example", "l2:0.5")),
    ),
)
