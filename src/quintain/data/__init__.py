"""Data sets in [0, 1] that are read batch by batch and have a content hash; the bundled chest X-rays."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports
from quintain.data._index import EXPORTS

if TYPE_CHECKING:
    from quintain.data._index import *
    from quintain.data.checks import check_data as check_data
    from quintain.data.dataset import Batch as Batch
    from quintain.data.dataset import Dataset as Dataset
    from quintain.data.dataset import from_arrays as from_arrays
    from quintain.data.face_drawing import draw_faces as draw_faces
    from quintain.data.loading import load_data as load_data
    from quintain.data.splits import Splits as Splits
    from quintain.data.torch_source import from_torch as from_torch

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
