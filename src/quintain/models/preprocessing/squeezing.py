"""Bit-depth reduction, a preprocessing defense."""

from torch import Tensor, nn

from quintain.core.errors import SettingError


class BitSqueeze(nn.Module):
    r"""Round every value to one of :math:`2^{bits}` levels; the gradient is zero almost everywhere.

    Args:
        bits: Bits that each value keeps, from 1 to 8.

    Raises:
        SettingError: If ``bits`` is out of range.

    Source: Xu et al., 2018, arXiv:1704.01155; broken by He et al., 2017, arXiv:1706.04701.
    """

    def __init__(self, bits: int = 3) -> None:
        super().__init__()
        if not 1 <= bits <= 8:
            raise SettingError(f"bits = {bits}; expected 1 to 8")
        self.levels = 2**bits - 1

    def forward(self, x: Tensor) -> Tensor:
        """Return images (B, *S) in [0, 1], each value rounded to the nearest level."""
        return (x * self.levels).round() / self.levels
