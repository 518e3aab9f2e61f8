"""Files are whole or absent."""

import errno
import os
from pathlib import Path

import pytest

from quintain.core.errors import StorageError
from quintain.core.store import read_bytes, sha256, sha256_file, write_atomically


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "deep" / "file.bin"
    write_atomically(path, b"abc", mode=0o600)
    assert read_bytes(path) == b"abc"
    assert path.stat().st_mode & 0o777 == 0o600
    assert sha256_file(path) == sha256(b"abc")


def test_a_full_disk_leaves_the_old_file_and_no_scraps(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"No space left.*free some space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_crash_before_the_rename_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StorageError, match="nowhere"):
        read_bytes(tmp_path / "nowhere")
