"""A site's journal in a round whose sum has noise, which is claimed before the vector leaves."""

from quintain.federated.secagg.journal import Journal


class NoiseClaims(Journal):
    """The journal of a site, which claims the noise over a model when the vector over that is to leave.

    A task alone claims nothing, so that no server uses up what epsilon counts with tasks of which nothing
    comes. The note lasts before the vector leaves, so that a crash in between counts too much, never too
    little.

    Args:
        journal: The site's own.
        training: Hex hash of the training.
        most: Noisy sums that its privacy allows.
    """

    def __init__(self, journal: Journal, training: str, most: int) -> None:
        self._journal, self._training, self._most = journal, training, most

    def claim_update(self, federation: str, counter: int, model_hash: bytes, round_id: bytes) -> None:
        """Claim noise and update: the last claim of every sum before a vector leaves."""
        self.claim_noise(self._training, model_hash, self._most)
        super().claim_update(federation, counter, model_hash, round_id)

    def _write_once(self, name: str, content: bytes) -> bytes | None:
        return self._journal._write_once(name, content)

    def _read(self, name: str) -> bytes | None:
        return self._journal._read(name)
