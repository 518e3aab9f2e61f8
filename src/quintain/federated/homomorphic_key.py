"""The secret key that all sites of a homomorphic sum share, in memory and in a file."""

import os
import secrets
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import ProtocolError, StorageError
from quintain.federated.homomorphic import (
    KEY_ID_BYTES,
    check_encoding,
    chunks_of,
    new_context,
    pack_ciphertext,
    parse_chunk,
    parse_ciphertext,
    parse_context,
    serialize_context,
    tenseal_module,
)
from quintain.federated.secagg.encoding import EncodedVector, Encoding
from quintain.federated.secagg.secret import Secret

KEY_MAGIC = b"QHK1"


@dataclass(frozen=True)
class SharedKey:
    """The secret key that all sites of a federation share, and the public one that goes with it.

    Args:
        key_id: 16 random bytes that name it.
        content: The key, for TenSEAL.

    Raises:
        ExecutionError: If TenSEAL is not installed.
        ProtocolError: If the content is no such key.
    """

    key_id: bytes
    content: Secret = field(repr=False)

    @classmethod
    def create(cls) -> "SharedKey":
        """Make a new key, by one site, which hands it to the others over channels that are theirs alone."""
        return cls(
            secrets.token_bytes(KEY_ID_BYTES), Secret(serialize_context(new_context(), with_keys=True))
        )

    def save(self, path: Path) -> None:
        """Write a key file that only its owner can read (mode 0600); hand it to each site by a safe channel.

        Raises:
            StorageError: If the file is there already, or cannot be written.
        """
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(KEY_MAGIC + self.key_id + self.content.peek())
        except OSError as error:
            raise StorageError(
                f"cannot write the key file {path}: {error.strerror}; a key is never written over another"
            ) from error

    @classmethod
    def load(cls, path: Path) -> "SharedKey":
        """Read a key file.

        Raises:
            StorageError: If it cannot be read, or others than its owner can read it.
            ProtocolError: If it is no key file.
        """
        try:
            mode, data = path.stat().st_mode, path.read_bytes()
        except OSError as error:
            raise StorageError(f"cannot read the key file {path}: {error.strerror}") from error
        if mode & 0o077:
            raise StorageError(
                f"the key file {path} has mode {mode & 0o777:o}; expected 600, since who reads it reads "
                f"every site's updates: chmod 600 {path}, and make a new key if others may have read it"
            )
        start = len(KEY_MAGIC) + KEY_ID_BYTES
        if not data.startswith(KEY_MAGIC) or len(data) <= start:
            raise ProtocolError(f"{path} is no key file of a homomorphic sum; expected one of SharedKey.save")
        key = cls(data[len(KEY_MAGIC) : start], Secret(data[start:]))
        _ = key._context
        return key

    @cached_property
    def _context(self) -> Any:
        context = parse_context(bytes(self.content.peek()))
        if not context.is_private():
            raise ProtocolError("this key file holds no secret key; expected the key that the sites share")
        return context

    def encrypt(self, encoded: EncodedVector, encoding: Encoding) -> bytes:
        """Encrypt one site's encoded vector.

        Args:
            encoded: (num_words,) words.
            encoding: Its grid.

        Raises:
            ProtocolError: If the vector has another length.
        """
        check_encoding(encoding)
        if encoded.shape != (encoding.num_words,):
            raise ProtocolError(f"an encoded vector {encoded.shape}; expected ({encoding.num_words},) words")
        # one more integer, which is 1: sums show how many vectors are in them, and a wrong key shows too
        integers = np.append(encoding.to_signed(encoded), 1)
        chunks = (
            tenseal_module().bfv_vector(self._context, chunk.tolist()).serialize()
            for chunk in chunks_of(integers)
        )
        return pack_ciphertext(self.key_id, encoding.num_words, 1, chunks)

    def decrypt(self, ciphertext: bytes, encoding: Encoding, summands: int) -> NDArray[np.int64]:
        """Decrypt a sum.

        Args:
            ciphertext: What ``CiphertextSum.pack`` returned.
            encoding: The grid.
            summands: Of how many vectors it is meant to be.

        Returns:
            (num_words,) signed integers, those that a secure sum of the same vectors has.

        Raises:
            ProtocolError: If it is under another key, of other vectors, or impossible for honest ones.
        """
        parts = parse_ciphertext(ciphertext, self.key_id, encoding.num_words)
        try:
            integers = np.concatenate(
                [np.array(parse_chunk(self._context, part).decrypt(), np.int64) for part in parts]
            )
        except (ValueError, RuntimeError) as error:
            raise ProtocolError(f"a ciphertext cannot be decrypted: {error}; refuse it") from error
        if integers.shape != (encoding.num_words + 1,) or integers[-1] != summands:
            raise ProtocolError(
                f"a ciphertext decrypts to a sum of {integers[-1] if integers.size else 0} vectors; expected "
                f"{summands}: it was made under another key, or is of other sites"
            )
        encoding.check_sum(integers[:-1], summands)
        return integers[:-1]
