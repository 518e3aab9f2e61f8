"""Linear bounds for search alone: those of a proof, in a type that is faster and proves nothing."""

from quintain.certify.interval.recording import Operation, Recording
from quintain.certify.linear.backward import BackwardBounds


def quick_bounds(proof: BackwardBounds, plain: BackwardBounds) -> BackwardBounds:
    """Return bounds for search alone: those of ``proof``, in the type of ``plain`` and by its operations.

    Args:
        proof: With narrow bounds, in float64.
        plain: Of the same operations, in float32.
    """
    return BackwardBounds(quick_copy(proof.recording, plain.recording), plain.minimum, plain.tables)


def quick_copy(recording: Recording, quick: Recording) -> Recording:
    """Return the operations of a recording with what another, of another type, computes.

    Lines, errors and terms are the first one's, in the type of the second one.

    Args:
        recording: With narrow bounds.
        quick: Of the same operations.
    """
    made = Recording()
    for one, other in zip(recording.operations, quick.operations, strict=True):
        dtype = other.terms.dtype
        lines = one.lines and one.lines.to(dtype)
        made.operations.append(
            Operation(
                made,
                one.index,
                tuple(made.operations[source.index] for source in one.sources),
                affine=other.affine,
                lines=lines,
                error=one.error.to(dtype),
                terms=one.terms.to(dtype),
                mixes=one.mixes,
            )
        )
    return made
