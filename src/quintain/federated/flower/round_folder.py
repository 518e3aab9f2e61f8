"""A site's part in a sum when every message finds a new process: what is kept between them.

Flower starts a process for each message, and the secrets of a site's state machine are not copied. So the
folder of a site holds, each file with mode 0600,

=========  ===============================================================================================
update     the encoded update over the last model, which is sent again if the round is tried again
round      a random seed, the facts of the round, and the server's messages so far; erased with its answer
lock       held while a message is handled, so that two processes never take one step twice
=========  ===============================================================================================

and each message plays the round again from its start: the state machine is a pure function of the vector, of
what the server sent and of its random bytes, and those come from the seed. The random bytes of a step depend
on all messages up to it, so that a step taken again with another message would use others. The journal is
only read while earlier steps are played again; it is written by the last one. A message is on the disk before
its reply leaves, and a refused message leaves nothing.

Whoever reads the folder during a round can unmask this site's vector, which the folder holds anyway. Let it
lie in memory (``/run/user/...``, or another tmpfs): a restart is then a dropout, and nothing is left on a
disk. The journal is to last for life, and lies elsewhere.
"""

import fcntl
import json
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from quintain.core.errors import ProtocolError, StorageError
from quintain.federated.flower.terms import RoundFacts, SumTerms
from quintain.federated.secagg import client
from quintain.federated.secagg.encoding import WORD_DTYPE, EncodedVector
from quintain.federated.secagg.journal import Journal
from quintain.federated.secagg.keys import Identity
from quintain.federated.secagg.policy import HASH_BYTES
from quintain.federated.secagg.primitives import KEY_BYTES, derive_key, keystream, tagged_hash
from quintain.federated.secagg.shamir import Entropy, random_bytes

_SIZE = struct.Struct(">Q")


class RoundFolder:
    """The folder of one site.

    Args:
        folder: Where; made if need be, with mode 0700.
        journal: What the site remembers for life.
    """

    def __init__(self, folder: Path, journal: Journal) -> None:
        self._folder, self._journal = folder, journal

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder.

        Raises:
            ProtocolError: If another message is being handled.
            StorageError: If the folder cannot be used.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(self._folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise _storage_error(self._folder, error) from error
        try:
            _lock(handle)
            yield
        finally:
            os.close(handle)

    def kept_update(self, made_for: bytes) -> EncodedVector | None:
        """The update that was made before by these very terms (``vector_hash``); None if there is none."""
        content = self._read("update")
        words = content[2 * HASH_BYTES :]
        if content[: 2 * HASH_BYTES] != made_for + _checksum(words):
            return None
        return np.frombuffer(words, WORD_DTYPE)

    def keep_update(self, made_for: bytes, encoded: EncodedVector) -> None:
        """Keep an update in the place of the one before.

        Args:
            made_for: ``SumTerms.vector_hash``.
            encoded: The update.
        """
        self._erase("update")
        words = encoded.tobytes()
        self._append("update", made_for + _checksum(words) + words)

    def join(
        self, terms: SumTerms, identity: Identity, facts: RoundFacts, offer: bytes, entropy: Entropy
    ) -> bytes:
        """Take part in a round with the kept update, and return the reply to its offer.

        The secrets of a round before it are erased.

        Raises:
            ProtocolError: If the offer is refused.
            StorageError: If folder or journal cannot be used; nothing was revealed.
        """
        self._erase("round")
        seed = random_bytes(entropy, KEY_BYTES)
        reply, _ = self._play(terms, identity, facts, seed, [offer])
        self._append("round", _frame(_pack_facts(facts, seed)) + _frame(offer))
        return reply

    def step(self, terms: SumTerms, identity: Identity, message: bytes) -> bytes:
        """Return the reply to the next message of the round.

        Raises:
            ProtocolError: If there is no round, or the message is refused; the round is as it was.
            StorageError: If folder or journal cannot be used; nothing was revealed.
        """
        frames = _frames(self._read("round"))
        if len(frames) < 2:
            raise ProtocolError("no round is under way; expected the offer of one first")
        facts, seed = _parse_facts(frames[0])
        reply, is_over = self._play(terms, identity, facts, seed, [*frames[1:], message])
        if is_over:
            self._erase("round")
        else:
            self._append("round", _frame(message))
        return reply

    def _play(
        self, terms: SumTerms, identity: Identity, facts: RoundFacts, seed: bytes, messages: Sequence[bytes]
    ) -> tuple[bytes, bool]:
        """Play the round up to the last of these messages: its reply, and whether the round is over."""
        encoded = self.kept_update(terms.vector_hash(facts))
        if encoded is None:
            raise ProtocolError("the update of this round is lost; join again when the model has moved")
        journal, entropy = _ReadThenWrite(self._journal), DerivedEntropy(seed)
        state: client.State = client.start_round(
            terms.policy(facts), identity, encoded, journal, entropy=entropy
        )
        reply = b""
        for number, message in enumerate(messages, start=1):
            entropy.turn_to(message)
            journal.is_live = number == len(messages)
            state, reply = client.step(state, message)
        return reply, isinstance(state, client.Done)

    def _read(self, name: str) -> bytes:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise _storage_error(self._folder, error) from error

    def _append(self, name: str, content: bytes) -> None:
        """Add to a file; it is on the disk when this returns."""
        try:
            handle = os.open(self._folder / name, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _storage_error(self._folder, error) from error

    def _erase(self, name: str) -> None:
        """Overwrite a file with zeros and remove it: best effort, a disk may keep older blocks."""
        path = self._folder / name
        try:
            with path.open("r+b") as file:
                file.write(bytes(path.stat().st_size))
                file.flush()
                os.fsync(file.fileno())
            path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            raise _storage_error(self._folder, error) from error


class DerivedEntropy:
    """Random bytes from a seed and all messages so far, as a stream of its own for each step."""

    def __init__(self, seed: bytes) -> None:
        self._seed, self._said = seed, tagged_hash("replay")

    def turn_to(self, message: bytes) -> None:
        """Start the stream of the step that this message asks for."""
        self._said = tagged_hash("replay", self._said, message)
        self._stream = keystream(derive_key(self._seed, b"quintain replayed round", salt=self._said))

    def __call__(self, size: int) -> bytes:
        return self._stream.update(bytes(size))


class _ReadThenWrite(Journal):
    """A journal to which nothing is written while earlier steps are played again: they are in it already."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.is_live = False

    def _write_once(self, name: str, content: bytes) -> bytes | None:
        return self._journal._write_once(name, content) if self.is_live else None

    def _read(self, name: str) -> bytes | None:
        return self._journal._read(name)


def _lock(handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ProtocolError("another message is being handled; expected one after the other") from None


def _checksum(words: bytes) -> bytes:
    """Tells a file that was cut off from a whole one."""
    return tagged_hash("kept update", words)


def _pack_facts(facts: RoundFacts, seed: bytes) -> bytes:
    entries = {
        name: value.hex() if isinstance(value, bytes) else value for name, value in asdict(facts).items()
    }
    return json.dumps({**entries, "seed": seed.hex()}).encode()


def _parse_facts(data: bytes) -> tuple[RoundFacts, bytes]:
    try:
        entries = json.loads(data)
        seed = bytes.fromhex(entries.pop("seed"))
        for name in ("round_id", "model_hash"):
            entries[name] = bytes.fromhex(entries[name])
        return RoundFacts(**entries), seed
    except (ValueError, TypeError, KeyError) as error:
        raise ProtocolError("the file of the round is damaged; this site leaves the round") from error


def _frame(content: bytes) -> bytes:
    return _SIZE.pack(len(content)) + content


def _frames(data: bytes) -> list[bytes]:
    """The frames of a file.

    Raises:
        ProtocolError: If the last one was cut off, by a crash within it: what it would have said is unknown.
    """
    frames, start = [], 0
    while start < len(data):
        (size,) = _SIZE.unpack(data[start : start + _SIZE.size].ljust(_SIZE.size, b"\xff"))
        start += _SIZE.size
        if start + size > len(data):
            raise ProtocolError("the file of the round is cut off; this site leaves the round")
        frames.append(data[start : start + size])
        start += size
    return frames


def _storage_error(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot use the folder {folder}: {error.strerror}; free some space or check permissions"
    )
