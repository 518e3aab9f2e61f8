"""A radiopaque side marker, as radiographers lay beside the patient: a small bright letter near a corner of the X-ray."""

from quintain.attacks.physical.sticker import Sticker
from quintain.attacks.physical.transforms import View


def side_marker(target: int | None = None, *, area: float = 0.04, steps: int = 150) -> Sticker:
    """The sticker that is a letter of metal near the top right corner: it lets no light through, so that it is bright, and it hardly moves.

    Args:
        target: The class to be answered; any wrong one if not given.
        area: The largest share of the X-ray that it may cover.
        steps: Steps of Adam.
    """
    corner = View((0.05, 0.95), 0.02, 5.0, (0.95, 1.0), 0.0, 0.03, 0.03)
    return Sticker(target, area, "letter", corner, low=0.6, steps=steps, batch=64)
