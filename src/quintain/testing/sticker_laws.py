"""The laws of certifiers of stickers: none breaks what is certified, nothing proven of what is wrong."""

from typing import Any

import torch
from torch import Tensor, nn

from quintain.models import Classifier
from quintain.models.protocol import ClassifierLike
from quintain.testing.checking import require, require_equal
from quintain.threats import Patch
from quintain.threats.patch import PatchParams

SIDE = 10
"""Of the images, in pixels."""


class BrightSide(nn.Module):
    """A half-space on what is seen of an image: class 1 where its pixels of 0 and more are bright on average.

    What is hidden has a value below 0 and counts as gray.
    """

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.full((), 8.0))

    def forward(self, x: Tensor) -> Tensor:
        """``x`` is (B, C, H, W)."""
        score = self.scale * torch.where(x < 0, 0.0, x - 0.5).flatten(1).sum(1)
        return torch.stack([-score, score], 1)


def bright_images() -> tuple[Classifier, Tensor, Tensor]:
    """Return a half-space on images, images (B, 1, 10, 10) by rising count of bright columns, and classes."""
    columns = torch.arange(SIDE)
    x = torch.stack([(columns < count).float().expand(1, SIDE, SIDE) for count in range(SIDE + 1)])
    return Classifier(BrightSide().eval(), num_classes=2), x, (torch.arange(SIDE + 1) > SIDE // 2).long()


def check_stickers_break_nothing_certified(certifier: Any) -> None:
    """No sticker of one color, at any place, changes the prediction of what is certified.

    On the half-space, and on votes of its parts, stickers all black or all white are the worst ones. Of the
    sides from one pixel to all, something is certified and something is not.

    Args:
        certifier: A certifier that supports ``patch``.

    Raises:
        AssertionError: If one does, or everything or nothing is certified.
    """
    base, x, y = bright_images()
    model: ClassifierLike = certifier.derive(base) if hasattr(certifier, "derive") else base
    seen = set()
    for side in range(1, SIDE + 1):
        threat = Patch(side**2 / SIDE**2)
        certified = certifier(model, x, y, threat).certified
        seen |= set(certified.tolist())
        x_of, y_of = x[certified], y[certified]
        for place in range((SIDE - side + 1) ** 2 if len(y_of) else 0):
            corner = torch.tensor([divmod(place, SIDE - side + 1)]).expand(len(x_of), 2)
            for color in (0.0, 1.0):
                pixels, present = torch.full((len(x_of), 1, side, side), color), torch.ones(len(x_of), 1)
                params = PatchParams(pixels, threat.position_of(corner, x_of), present)
                stuck = threat.render(x_of, threat.pack(params))
                require(
                    model.predict(stuck) == y_of,
                    f"the certified predictions under a sticker of side {side} and color {color:g}, place "
                    f"{place}",
                )
    require(seen == {True, False}, "some stickers certified, and some not", f"{seen}")


def check_sticker_edge_cases(certifier: Any) -> None:
    """No wrong or NaN output is certified, each image is certified by itself, and the model stays untouched.

    Args:
        certifier: A certifier that supports ``patch``.

    Raises:
        AssertionError: If not.
    """
    base, x, y = bright_images()
    threat, before, state = Patch(1 / SIDE**2), base.hash, torch.random.get_rng_state()
    whole, part = certifier(base, x, y, threat), certifier(base, x[:2], y[:2], threat)
    require_equal(part.margin, whole.margin[:2], "the same margins without the rest of the batch")
    require(~certifier(base, x, 1 - y, threat).certified, "nothing certified of what is wrong")
    net = BrightSide().eval()
    net.scale.fill_(torch.nan)
    require(
        ~certifier(Classifier(net), x, y, threat).certified, "nothing certified where the model gives NaN"
    )
    require(base.hash == before, "the same weights as before")
    require_equal(torch.random.get_rng_state(), state, "the same state of torch's global generator as before")
