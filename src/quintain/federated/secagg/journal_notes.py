"""The notes of a site's journal by name, which says what was done, and in which round or over which model."""

from quintain.federated.secagg.primitives import tagged_hash

SPENT = ".spent-"
"""In the name of a note of a private round: between the hash of its training and its number there."""
NOISE = ".noise-"
"""The same of a noisy sum."""


def update_note(federation: str, counter: int, model_hash: bytes) -> str:
    """Name the note that an update was masked in this round over this model."""
    return f"{tagged_hash('update', federation.encode(), str(counter).encode(), model_hash).hex()}.masked"


def roster_note(model_hash: bytes) -> str:
    """Name the note of the roster for which a vector over this model was masked."""
    return f"{model_hash.hex()}.roster"


def vector_note(model_hash: bytes) -> str:
    """Name the note of the vector that was masked over this model."""
    return f"{model_hash.hex()}.vector"


def answer_note(round_id: bytes) -> str:
    """Name the note that this round was unmasked."""
    return f"{round_id.hex()}.unmasked"


def cohort_note(model_hash: bytes) -> str:
    """Name the note of the survivors whose sum over this model was opened."""
    return f"{model_hash.hex()}.cohort"


def spending_note(training: str, number: int) -> str:
    """Name the note of what a round of a private training has spent."""
    return f"{training}{SPENT}{number}"


def noise_note(training: str, number: int) -> str:
    """Name the note of the model of one of a training's noisy sums."""
    return f"{training}{NOISE}{number}"
