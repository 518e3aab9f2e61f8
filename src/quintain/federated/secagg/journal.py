r"""The journal of a site: what it has masked and whose sums it has opened, across rounds and restarts.

Two sums over one model with different members subtract to the updates of the members in which they differ: to
one site's own if they differ by one. Two sums of the same members under other weights do so too: of one
site's own if its weight alone was changed, also where weights are hidden. And if one site's data is another
one by a single patient, they subtract to what that patient changed. Masks do not help, both sums are what the
server may know. So a site keeps five rules, across rounds and restarts:

1. One update is masked once: a second round of the same federation, counter and model is refused when the
   vector would leave.
2. A round id is unmasked once.
3. Over one model it masks for one roster only, that is, one set of identities, whether or not it comes to
   answer.
4. Over one model it masks one vector only, its hidden weight included, bit for bit, whether or not it comes
   to answer. Training twice seldom gives the same bits: a site keeps its encoded vector until the model
   moves, and sends that again.
5. Over one model it helps to open one cohort only, that is, one set of survivors under one set of terms
   (recipe, weight of each site, objective, data, clip and grid), under whatever round id, counter or
   federation. Any two different cohorts are refused, not only those that differ by one site or two: several
   that differ by more give single sites away in combination (Lam et al., 2021, arXiv:2106.06089). On a sparse
   graph, and in a homomorphic sum, it is bound by its signature on the survivors already: there the answers
   of a part of the sites open a sum, and two parts without a common site could open two.

By the last rule at most one cohort of a roster is ever opened over a model, even by a server that calls an
opened round abandoned: opening takes t answers (t signatures where these bind), two cohorts would take t
each, and since :math:`2t > n + \mathrm{corrupt}` some honest site would have answered for both. Cohorts of
different rosters may have no honest site among both their answers; but by the third rule they have none among
both their survivors either, so that their sums do not subtract to anybody's update. And by the fourth rule
all sums opened over a model for one roster are of the same vectors of honest sites. A round that was
abandoned can thus be tried again over it for this roster, with a new id and counter, and the same vectors:
where no site has answered, with whatever sites are there; where some have, with the same survivors. Another
roster, or another vector of a site (of data that has changed, or since the one that it masked is lost), takes
another model.

For sums without a model, ``Policy.model_hash`` is to name what is summed, or these rules take all of them for
one thing.

Beside these rules the journal of a site that trains privately has a note of what each round has spent, so
that no restart and no lost file makes the budget whole again; and where sums have noise, a note of each model
over which the site has sent a noisy vector, of which there are no more than epsilon counts.

A site has one journal for life, whatever federations it is in: rules 3 to 5 hold between two of them only if
both stand in one.

Not covered: sums over different models. Where the model hardly moves from one round to the next, updates
hardly do either, and the difference of two neighboring sums still tells, roughly, of a site that is in one
of them alone. That takes differential privacy.
"""

from abc import ABC, abstractmethod
from numbers import Integral

from quintain.core.errors import ProtocolError
from quintain.federated.secagg.journal_notes import (
    answer_note,
    cohort_note,
    noise_note,
    roster_note,
    spending_note,
    update_note,
    vector_note,
)
from quintain.federated.secagg.setting_types import check_types


class Journal(ABC):
    """Notes that are written once, and the rules that rest on them."""

    def claim_update(self, federation: str, counter: int, model_hash: bytes, round_id: bytes) -> None:
        """Claim the update of a round, before it leaves in masked form.

        Args:
            federation: Which federation it is.
            counter: The round's number in the federation; an abandoned round is tried again under the next.
            model_hash: Of the model that the update belongs to.
            round_id: For the message only.

        Raises:
            ProtocolError: If it was masked before, under whatever round id.
            SettingError: If something is of another type.
        """
        check_types(str, federation=federation)
        check_types(Integral, counter=counter)
        check_types(bytes, model_hash=model_hash, round_id=round_id)
        first = self._write_once(update_note(federation, int(counter), model_hash), round_id)
        if first is not None:
            raise ProtocolError(
                f"the update of round {counter} over this model was masked before, in round id "
                f"{first.hex() or 'unknown'}; an update is masked once: try again under the next round "
                "counter"
            )

    def claim_roster(self, model_hash: bytes, members: bytes) -> None:
        """Claim who takes part in rounds over a model, before an update leaves in masked form.

        Args:
            model_hash: Of the model.
            members: Hash of the identities that the roster lists.

        Raises:
            ProtocolError: If another roster was claimed for this model before.
            SettingError: If something is of another type.
        """
        check_types(bytes, model_hash=model_hash, members=members)
        if self._write_once(roster_note(model_hash), members) not in (None, members):
            raise ProtocolError(
                "this site has masked an update over this very model for a roster of other sites; sums over "
                "two rosters would subtract to the updates of the sites in which they differ: keep the "
                "roster, or go on from another model"
            )

    def claim_vector(self, model_hash: bytes, vector: bytes) -> None:
        """Claim what this site sends over a model, before it leaves in masked form.

        Args:
            model_hash: Of the model.
            vector: Keyed hash of its encoded vector, the hidden weight included.

        Raises:
            ProtocolError: If another vector was claimed for this model before.
            SettingError: If something is of another type.
        """
        check_types(bytes, model_hash=model_hash, vector=vector)
        if self._write_once(vector_note(model_hash), vector) not in (None, vector):
            raise ProtocolError(
                "this site has masked another vector, or the same with another weight, over this very model; "
                "two sums would subtract to what has changed in between: send the first one again, bit for "
                "bit (keep it until the model moves), or go on from another model"
            )

    def claim_answer(self, round_id: bytes, model_hash: bytes, cohort: bytes) -> None:
        """Claim the unmasking of a round, before the shares leave.

        Args:
            round_id: The round's id.
            model_hash: Of the round's model.
            cohort: Hash of the survivors' identities and of the terms under which they sum.

        Raises:
            ProtocolError: If the round was unmasked before, or another cohort over the same model.
            SettingError: If something is of another type.
        """
        check_types(bytes, round_id=round_id, model_hash=model_hash, cohort=cohort)
        if self._write_once(answer_note(round_id), b"") is not None:
            raise ProtocolError(
                f"round {round_id.hex()} was unmasked before; a round is answered once: start a new round "
                "with a new id"
            )
        _check_same(self._write_once(cohort_note(model_hash), cohort), cohort)

    def check_cohort(self, model_hash: bytes, cohort: bytes) -> None:
        """Refuse survivors that ``claim_answer`` would refuse; nothing is claimed.

        Asked before a site signs the survivors: without t signatures nobody answers, so that a cohort which
            cannot be opened binds nobody.

        Raises:
            ProtocolError: If another cohort over the same model was claimed before.
        """
        _check_same(self._read(cohort_note(model_hash)), cohort)

    def claim_cohort(self, model_hash: bytes, cohort: bytes) -> None:
        """Claim the survivors of a sum that a part of them can open, before the signature on them leaves.

        Args:
            model_hash: Of the round's model.
            cohort: Hash of the survivors' identities and of the terms under which they sum.

        Raises:
            ProtocolError: If another cohort over the same model was claimed before.
            SettingError: If something is of another type.
        """
        check_types(bytes, model_hash=model_hash, cohort=cohort)
        _check_same(self._write_once(cohort_note(model_hash), cohort), cohort)

    def has_answered(self, round_id: bytes) -> bool:
        """Return whether this site has helped to unmask this round.

        Raises:
            StorageError: If the journal cannot be read.
        """
        return self._read(answer_note(round_id)) is not None

    def has_masked(self, federation: str, counter: int, model_hash: bytes) -> bool:
        """Return whether the masked update of a round over a model may have left this site.

        Raises:
            StorageError: If the journal cannot be read.
        """
        return self._read(update_note(federation, counter, model_hash)) is not None

    def note_spending(self, training: str, number: int, spent: bytes) -> None:
        """Note what a round of private training has spent, before anything of it leaves.

        Args:
            training: Hex hash of the training.
            number: How many notes of it there were before.
            spent: What it has spent.

        Raises:
            ProtocolError: If this note was made before: another program of this site trains as well.
        """
        if self._write_once(spending_note(training, number), spent) is not None:
            raise ProtocolError(
                f"private round {number} of this training was noted before, by another program with this "
                "journal; expected one program a site: stop the other one"
            )

    def noted_spending(self, training: str) -> tuple[bytes, ...]:
        """Return what each round of private training has spent, in order; empty where a crash cut a note off.

        Raises:
            StorageError: If the journal cannot be read.
        """
        notes: list[bytes] = []
        while (note := self._read(spending_note(training, len(notes)))) is not None:
            notes.append(note)
        return tuple(notes)

    def claim_noise(self, training: str, model_hash: bytes, most: int) -> None:
        """Claim the noise in a sum over a model, before a vector of that sum leaves.

        Over one model a site sends one vector, whose noise counts once, however often it is sent.

        Args:
            training: Hex hash of the training.
            model_hash: Of the model.
            most: Noisy sums that the privacy of the training allows.

        Raises:
            ProtocolError: If there were so many over other models before, or another program claims as well.
            SettingError: If something is of another type.
            StorageError: If the journal cannot be read or written.
        """
        number = self.check_noise(training, model_hash, most)
        if self._write_once(noise_note(training, number), model_hash) not in (None, model_hash):
            raise ProtocolError(
                f"noisy sum {number} of this training was claimed by another program with this journal; "
                "expected one program a site: stop the other one"
            )

    def check_noise(self, training: str, model_hash: bytes, most: int) -> int:
        """Return the number of the note by which the noise over a model is claimed, or is to be.

        Args:
            training, model_hash, most: As ``claim_noise`` takes them.

        Raises:
            ProtocolError: If there were so many over other models before.
            SettingError: If something is of another type.
            StorageError: If the journal cannot be read.
        """
        check_types(bytes, model_hash=model_hash)
        number = 0
        while (claimed := self._read(noise_note(training, number))) not in (None, model_hash):
            number += 1
        if claimed is None and number >= most:
            raise ProtocolError(
                f"this site has sent noisy updates over {number} models of this training, and its epsilon "
                f"counts {most} sums: nothing more of it leaves; expected a new training, whose epsilon adds "
                "to this one's"
            )
        return number

    @abstractmethod
    def _write_once(self, name: str, content: bytes) -> bytes | None:
        """Make a note, lasting when this returns.

        Returns the content that stands there if it was made before, and nothing is changed then.
        """

    @abstractmethod
    def _read(self, name: str) -> bytes | None:
        """What a note says; None if there is no such note."""


class MemoryJournal(Journal):
    """A journal that lives as long as its process."""

    def __init__(self) -> None:
        self._notes: dict[str, list[bytes]] = {}

    def _write_once(self, name: str, content: bytes) -> bytes | None:
        # an object of its own, so that identity tells who came first, between threads as well
        mine = [content]
        first = self._notes.setdefault(name, mine)
        return None if first is mine else first[0]

    def _read(self, name: str) -> bytes | None:
        return self._notes[name][0] if name in self._notes else None


def _check_same(first: bytes | None, cohort: bytes) -> None:
    if first not in (None, cohort):
        raise ProtocolError(
            "this site has helped to open the sum of other survivors over this very model, or of these under "
            "other terms (recipe, weights, objective, data, clip or grid); the two sums would subtract to "
            "the update of the sites in which they differ: try again when the same sites are there, under "
            "the same terms, or go on from another model"
        )
