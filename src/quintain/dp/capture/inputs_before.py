"""The inputs of a module as they were before its forward, which may write into them (``x.sub_(mean)``)."""

from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten


class InputsBefore:
    """Copies of the tensors in a call's arguments, made before the call.

    Args:
        call: The arguments, nested in tuples, lists and dicts.
    """

    def __init__(self, call: Any) -> None:
        tensors = [leaf for leaf in tree_flatten(call)[0] if isinstance(leaf, Tensor)]
        self._known = [
            (leaf, leaf._version, leaf.detach().clone()) for leaf in tensors if not leaf.is_inference()
        ]

    def with_copies(self, call: Any) -> Any:
        """Return the call's arguments with the copy in the place of each tensor that was written into."""
        leaves, spec = tree_flatten(call)
        return tree_unflatten([self._before(leaf) for leaf in leaves], spec)

    def _before(self, leaf: Any) -> Any:
        for known, version, copy in self._known:
            if leaf is known and leaf._version != version:
                return copy
        return leaf
