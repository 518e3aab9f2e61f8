"""Whether outputs of an example depend on how far its batch is padded, as its longest example decides."""

from typing import Any

import torch
from torch import Tensor

from quintain.core.errors import PrivacyError
from quintain.dp.capture.module_reruns import NO_DEPENDENCE, ModuleReruns
from quintain.dp.capture.output_tensors import iter_tensors


def input_lengths(reruns: ModuleReruns) -> tuple[int, ...]:
    """The second dimension of each input that holds the batch."""
    return tuple(leaf.shape[1] for leaf in reruns.leaves if reruns.holds_batch(leaf) and leaf.dim() > 1)


def check_padding(reruns: ModuleReruns, pads: dict[int, Tensor], *, vary: bool) -> str | None:
    """Whether outputs depend on how far the batch is padded.

    Checked without the longest examples, at full length and cut to what the others need.

    Args:
        reruns: What runs the module again on other rows.
        pads: What rows of earlier batches ended with, by the index of the input.
        vary: Whether batches of several lengths were seen; if not, only the padding is noted, and there
            is no answer.

    Raises:
        PrivacyError: If they do.
    """
    plan = _rows_to_shorten(reruns, pads)
    if not vary:
        return None
    if plan is None:
        return "not checked: no example is longer than the others"
    kept, length, cut = plan
    leaves = [
        leaf.index_select(0, kept.to(leaf.device)) if reruns.holds_batch(leaf) else leaf
        for leaf in reruns.leaves
    ]
    held = [reruns.holds_batch(leaf) for leaf in reruns.leaves]
    shorter = [
        _shorten(leaf, length, cut) if batch else leaf for leaf, batch in zip(leaves, held, strict=True)
    ]
    whole, short = (reruns.rerun(rows, evaluate=True) for rows in (leaves, shorter))
    if whole is None or short is None:
        return "not checked: the module does not take shorter rows"
    real = [_shorten(x, length, cut) for x in iter_tensors(whole) if x.dim() and len(x) == len(kept)]
    again = [x for x in iter_tensors(short) if x.dim() and len(x) == len(kept)]
    if not reruns.rows_agree(real, again, torch.arange(len(kept))):
        raise PrivacyError(
            f"the outputs of examples follow how far their batch is padded (to {length}, or to {cut} "
            "without its longest): one long record changes all others; expected padding that is masked "
            "everywhere, or one fixed length for all batches"
        )
    return NO_DEPENDENCE


def _rows_to_shorten(reruns: ModuleReruns, pads: dict[int, Tensor]) -> tuple[Tensor, int, int] | None:
    """Return the rows that are not the longest, the batch's length, and theirs.

    Repeated equal endings are padding.
    """
    padded = {
        at: leaf for at, leaf in enumerate(reruns.leaves) if reruns.holds_batch(leaf) and leaf.dim() > 1
    }
    if reruns.batch_dim or not padded:
        return None
    length = next(iter(padded.values())).shape[1]
    needed = torch.zeros(reruns.batch_size, dtype=torch.int64)
    for at, leaf in padded.items():
        if leaf.shape[1] == length:
            flat = leaf.flatten(2) if leaf.dim() > 2 else leaf[..., None]
            tail = (flat == flat[:, -1:]).all(2).flip(1).int().cumprod(1).sum(1)
            ends = flat[tail > 1][:, -1]
            if not len(ends):
                return None
            known, pads[at] = pads.get(at), ends.mode(0).values
            if known is None or not torch.equal(known, pads[at]):
                return None
            padding = (tail > 1) & (flat[:, -1] == pads[at]).all(1)
            needed = torch.maximum(needed, torch.where(padding, length - tail, length).cpu())
    shorter = needed[needed < length]
    if not len(shorter) or len(shorter) == len(needed):
        return None
    cut = max(int(shorter.max()), 1)
    return torch.nonzero(needed <= cut).flatten(), length, cut


def _shorten(leaf: Any, length: int, cut: int) -> Any:
    """The tensor with every dimension of size ``length`` but the first cut to ``cut``."""
    if isinstance(leaf, Tensor):
        for dim in range(1, leaf.dim()):
            if leaf.shape[dim] == length:
                leaf = leaf.narrow(dim, 0, cut)
    return leaf
