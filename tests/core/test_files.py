"""Files are whole or absent."""

import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from quintain.core.errors import StorageError
from quintain.core.files import read_bytes, remove_leftovers, sha256, sha256_file, write_atomically


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "deep" / "file.bin"
    write_atomically(path, b"abc", mode=0o600)
    assert read_bytes(path) == b"abc"
    assert path.stat().st_mode & 0o777 == 0o600
    assert sha256_file(path) == sha256(b"abc")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_file_is_as_private_as_the_user_asks(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "file", b"abc")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_writers_at_once_leave_one_whole_file_and_no_scraps(tmp_path):
    path, texts = tmp_path / "file", [bytes([65 + k]) * 200_000 for k in range(4)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda text: write_atomically(path, text), texts * 5))
    assert path.read_bytes() in texts
    assert list(tmp_path.iterdir()) == [path]


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


def test_an_interruption_before_the_rename_leaves_the_old_file_and_no_scraps(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_has_left_is_removed_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    kept = [path, tmp_path / ".file.notes", tmp_path / f".file.{'0' * 15}", tmp_path / f".profile.{'0' * 16}"]
    for one in kept:
        one.write_bytes(b"old")
    killed = (
        "import os, pathlib, signal, sys\n"
        "from quintain.core.files import write_atomically\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomically(pathlib.Path(sys.argv[1]), b'secret')\n"
    )
    done = subprocess.run([sys.executable, "-c", killed, path], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = set(tmp_path.iterdir()) - set(kept)
    assert left.read_bytes() == b"secret"
    remove_leftovers(path)
    assert set(tmp_path.iterdir()) == set(kept)
    remove_leftovers(tmp_path / "nowhere" / "file")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StorageError, match="nowhere"):
        read_bytes(tmp_path / "nowhere")
