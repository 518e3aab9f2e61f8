"""The hash tree over what a site deals: one signature on its root holds for every holder's part.

A site deals each holder a leaf. It signs the root, and the server gives each holder the hashes beside the way
up from its leaf, by which the holder finds the root that was signed. Leaves and inner nodes are hashed under
different labels, and a leaf names its holder, so that nothing passes for something else.

Source: Merkle, 1987, A digital signature based on a conventional encryption function.
"""

from collections.abc import Mapping, Sequence

from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.primitives import tagged_hash

NODE_BYTES = 32
_EMPTY = bytes(NODE_BYTES)
"""What stands where there is no leaf; no hash is known to be that."""

Tree = Sequence[Sequence[bytes]]
"""The nodes by level, the leaves first and the root last."""


def tree_depth(policy: Policy) -> int:
    """Return the levels of a tree above its leaves.

    There is room for a leaf of each site, or of each neighbor in a sparse graph and of the dealer itself.
    """
    graph = policy.sparse_graph
    leaves = len(policy.roster) if graph is None else graph.degree + 1
    return (leaves - 1).bit_length()


def leaf_hash(holder: int, content: bytes) -> bytes:
    """Return the leaf of a holder."""
    return tagged_hash("dealt", holder.to_bytes(4, "big"), content)


def build_tree(leaves: Mapping[int, bytes], depth: int) -> Tree:
    """Return the tree with some leaves, by place in [0, 2^depth)."""
    levels = [[leaves.get(place, _EMPTY) for place in range(1 << depth)]]
    for _ in range(depth):
        below = levels[-1]
        levels.append([_parent(*below[place : place + 2]) for place in range(0, len(below), 2)])
    return levels


def root(tree: Tree) -> bytes:
    """Return the root, which the dealer signs."""
    return tree[-1][0]


def path(tree: Tree, place: int) -> bytes:
    """Return the hashes beside the way from a leaf up to the root, one after the other."""
    return b"".join(nodes[(place >> level) ^ 1] for level, nodes in enumerate(tree[:-1]))


def root_from_path(leaf: bytes, place: int, hashes: bytes) -> bytes:
    """Return the root over a leaf at a place and the hashes of its ``path``."""
    node = leaf
    for level in range(len(hashes) // NODE_BYTES):
        other = hashes[level * NODE_BYTES : (level + 1) * NODE_BYTES]
        node = _parent(other, node) if place >> level & 1 else _parent(node, other)
    return node


def _parent(left: bytes, right: bytes) -> bytes:
    # parts of the tree without a leaf cost nothing
    return _EMPTY if left == right == _EMPTY else tagged_hash("dealt node", left, right)
