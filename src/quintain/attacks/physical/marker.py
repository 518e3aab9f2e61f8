"""A side marker, as radiographers lay beside the patient: a small letter near a corner of the X-ray."""

from quintain.attacks.physical.sticker import Sticker
from quintain.attacks.physical.transforms import View


def side_marker(target: int | None = 1, *, area: float = 0.06, steps: int = 60) -> Sticker:
    """The sticker that is a radiopaque letter near the top right corner, of metal of graded thickness: any grey; it hardly moves.

    Args:
        target: The class to be answered, pneumonia for the bundled X-rays; any wrong one if not given.
        area: The largest share of the X-ray that it may cover.
        steps: Steps of Adam.
    """
    corner = View((0.05, 0.95), 0.02, 5.0, (0.95, 1.0), 0.0, 0.03, 0.03)
    return Sticker(target, area, "letter", corner, steps=steps, batch=64)
