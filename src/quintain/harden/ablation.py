"""Training on random bands of the images, for the base of an ablated classifier."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintain.certify.ablation import check_ablation
from quintain.certify.band_votes import Bands
from quintain.core.errors import SettingError
from quintain.core.seeds import derive_seed
from quintain.models.adapters import forward_logits
from quintain.threats.arguments import to_threat
from quintain.threats.mask import Mask
from quintain.threats.patch import Patch
from quintain.threats.threat import Threat
from quintain.training.objective import StepContext
from quintain.training.recipe import Recipe

RECIPE = Recipe(epochs=40, batch_size=128, learning_rate=3e-3)


@dataclass(frozen=True, slots=True)
class AblationTraining:
    r"""Training on one random band of each image, for the base of an ablated classifier.

    .. math:: \min_\theta\; E_{(x, y)}\, E_b\, CE(f_\theta(ablate_b(x)), y)

    A band is drawn anew in every step; all other pixels are ``fill``, as ``AblatedClassifier`` shows them.

    Guarantee: none of itself; ``AblatedClassifier`` then certifies. The net is not meant for whole images.

    Args:
        threat: The sticker, ``Patch`` or ``Mask``, that the trained model is attacked and certified in, or
            its text. Training does not depend on it.
        recipe: Epochs, batch size and optimizer.
        band_width: Columns that a band shows, or side of a block, in pixels: those of the ablated classifier.
        band_shape: ``column`` or ``block``.
        fill: What hides pixels.

    Raises:
        SettingError: If a number is out of range, or the threat another one.

    Source: Levine and Feizi, 2020, arXiv:2002.10733.
    """

    name: ClassVar[str] = "ablation"
    summary: ClassVar[str] = "training on random bands of the images, for the base of an ablated classifier"
    guarantee: ClassVar[str] = "none of itself; votes of bands certify stickers afterwards"
    supports: ClassVar[tuple[str, ...]] = ("patch", "mask")
    example: ClassVar[str] = "patch:area=3%"
    default_rank: ClassVar[int] = 4
    certifier: ClassVar[str] = "ablation"

    threat: Threat
    recipe: Recipe = RECIPE
    band_width: int = 4
    band_shape: Literal["column", "block"] = "column"
    fill: float = -1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "threat", to_threat(self.threat))
        if not isinstance(self.threat, Patch | Mask):
            raise SettingError(f"ablation is trained for stickers (patch) and masks; got {self.threat!r}")
        check_ablation(self.band_width, self.band_shape, 0.0)

    def objective(self) -> "AblationLoss":
        """Return the loss of a step."""
        return AblationLoss(self.band_width, self.band_shape, self.fill)


@dataclass(frozen=True, slots=True)
class AblationLoss:
    """The loss of ``AblationTraining``."""

    band_width: int
    band_shape: str
    fill: float

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, context: StepContext) -> Tensor:
        """Return the scalar loss of a batch."""
        bands = Bands.of(x.shape, self.band_shape, self.band_width)
        generator = torch.Generator().manual_seed(derive_seed(context.seed, "bands"))
        index = torch.randint(bands.count, (len(x),), generator=generator).to(x.device)
        return F.cross_entropy(
            forward_logits(net, torch.where(bands.visible(index)[:, None], x, self.fill)), y
        )
