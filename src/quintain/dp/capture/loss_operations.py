"""The operations of torch that the rules for losses tell apart, by the names of their functions."""

from collections.abc import Mapping


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _methods(names: str) -> frozenset[str]:
    """The names of operators, as methods of a tensor."""
    return frozenset(f"__{name}__" for name in names.split())


SCALING_OPS = _names(
    "div div_ true_divide true_divide_ divide divide_ mul mul_ multiply multiply_"
) | _methods("truediv rtruediv itruediv div idiv mul rmul imul")
PRODUCT_OPS = _names("matmul dot inner mv") | _methods("matmul rmatmul")
ADDITION_OPS = _names("add add_ sub") | _methods("add radd iadd sub")
REDUCTION_OPS = _names("mean sum nanmean nansum")
STACKING_OPS = _names("stack cat concat concatenate vstack hstack")
INDEXING_OPS = _names("__getitem__ masked_select index_select take")
SELECTION_OPS: Mapping[str, tuple[int, int | None]] = {
    **dict.fromkeys(_names("topk kthvalue"), (1, -1)),
    **dict.fromkeys(_names("sort mode"), (0, -1)),
    **dict.fromkeys(_names("median nanmedian quantile nanquantile max min amax amin aminmax"), (0, None)),
    **dict.fromkeys(_names("msort cummax cummin"), (0, 0)),
}
"""By operation: integer arguments before the dimension, and the default dimension (None is all)."""
_SCATTERING = (
    "masked_scatter index_put index_add index_copy scatter scatter_add scatter_reduce segment_reduce"
)
SCATTER_OPS = frozenset(name + ending for name in _SCATTERING.split() for ending in ("", "_"))
COMPARISON_OPS = _names("lt le gt ge eq ne less less_equal greater greater_equal not_equal") | _methods(
    "lt le gt ge eq ne bool"
)

_SIGNS = _names("neg negative positive rsub sub_ subtract")
_SHAPES = _names("reshape view view_as squeeze unsqueeze flatten ravel expand expand_as atleast_1d")
_MOVES = _names("permute transpose t movedim swapaxes repeat tile broadcast_to cumsum roll")
_FORMATS = _names("to float double half bfloat16 type type_as cpu cuda clone contiguous")
_PARTS = _names("unbind select split chunk index_select requires_grad_")
LINEAR_OPS = (
    ADDITION_OPS
    | SCALING_OPS
    | REDUCTION_OPS
    | STACKING_OPS
    | PRODUCT_OPS
    | _SIGNS
    | _SHAPES
    | _MOVES
    | _FORMATS
    | _PARTS
    | _methods("neg pos rsub isub getitem iter get")
)
"""What a mean over the batch may go through; of anything else, each example's scale depends on the others."""
