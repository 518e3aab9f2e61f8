"""Sparse-RS: random search over which pixels to change, with colors at the corners of the box."""

from dataclasses import dataclass
from typing import ClassVar

from quintain.attacks.base import Attack
from quintain.attacks.score_based._sparse_rs_areas import search_mask, search_patch
from quintain.attacks.score_based._sparse_rs_pixels import search_pixels
from quintain.attacks.search import Search
from quintain.core.limits import require_at_least
from quintain.models.protocol import Access
from quintain.threats.mask import Mask
from quintain.threats.patch import Patch


@dataclass(frozen=True, slots=True)
class SparseRS(Attack):
    r"""Random search over a few pixels, a sticker or a frame, whose colors are corners of the box.

    .. math:: z \leftarrow z' \text{ where } \ell(f(z')) > \ell(f(z))

    In the ball of the number of changed pixels, ``z'`` restores a fraction of them and changes as many
    others, each with a color that differs from the image's. A sticker gets a window of another color, or
    another place; a shape gets windows of another color. Without a target the loss is the margin, towards a
    target the log odds. How much is changed at once falls with the fraction of the queries that are spent.

    Args:
        queries: Queries of each example; an example stops at its first success.

    Raises:
        SettingError: If it is not positive.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Croce et al., 2022, arXiv:2006.12834.
    """

    name: ClassVar[str] = "sparse-rs"
    summary: ClassVar[str] = "random search over a few pixels, a sticker or a frame, with extreme colors"
    use_for: ClassVar[str] = "a few pixels, a frame, a sticker that may move"
    cost: ClassVar[str] = "{queries}"
    access: ClassVar[Access] = "scores"
    min_queries: ClassVar[int] = 500
    supports: ClassVar[tuple[str, ...]] = ("l0", "mask", "patch")
    test_settings: ClassVar = {"queries": 80}
    gap_test_settings: ClassVar = {"queries": 1000}

    queries: int = 5000

    def __post_init__(self) -> None:
        require_at_least(1, queries=self.queries)

    def run(self, search: Search) -> None:
        """Search from one random start."""
        threat = search.threat
        if isinstance(threat, Patch):
            search_patch(search, threat, self.queries)
        elif isinstance(threat, Mask):
            search_mask(search, threat, self.queries)
        else:
            search_pixels(search, self.queries)
