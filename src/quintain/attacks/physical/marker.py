"""A side marker, as radiographers lay beside the patient: a small letter near a corner of the X-ray."""

from quintain.attacks.physical.sticker import Sticker
from quintain.attacks.physical.transforms import View

BRIGHT = 0.6
"""The darkest that metal is in an X-ray, as a share of white."""


def side_marker(target: int | None = 0, *, area: float = 0.06, steps: int = 150) -> Sticker:
    """The sticker that is a radiopaque letter near the top right corner: it lets little through, so that it is bright; it hardly moves.

    Args:
        target: The class to be answered, normal for the bundled X-rays; any wrong one if not given.
        area: The largest share of the X-ray that it may cover.
        steps: Steps of Adam.
    """
    corner = View((0.05, 0.95), 0.02, 5.0, (0.95, 1.0), 0.0, 0.03, 0.03)
    return Sticker(target, area, "letter", corner, low=BRIGHT, steps=steps, batch=64)
