"""A run of attacks that is cut off: what stays, and what comes out the same."""

import math
import shutil
from dataclasses import dataclass, replace

import numpy as np
import pytest

from quintain.attacks import FGSM, PGD
from quintain.core.errors import RunFolderError, StorageError
from quintain.evaluate.evasion.checkpoint import Chunk, ChunkKey, ChunkStore, delete_chunks
from quintain.results.run_layout import UNFINISHED
from tests.evaluate.support.attacked import ATTACKS, SIZES, counted, points, run, timeless


@dataclass
class Cut:
    """An attack that is cut off after some calls."""

    inner: object
    calls: int
    error: BaseException

    def __call__(self, *arguments, **words):
        self.calls -= 1
        if self.calls < 0:
            raise self.error
        return self.inner(*arguments, **words)

    def __repr__(self):
        return repr(self.inner)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupted."""
    return run(folder=tmp_path_factory.mktemp("whole"), num_pictures=4)


@pytest.mark.parametrize("calls", [0, 1, 5, 11])
def test_an_interrupted_run_goes_on_where_it_was_and_comes_to_the_same(tmp_path, whole, calls):
    folder, place = tmp_path / "cut", tmp_path / "cut" / UNFINISHED
    attacks = {**ATTACKS, "pgd": Cut(ATTACKS["pgd"], calls, KeyboardInterrupt())}
    with pytest.raises(KeyboardInterrupt):
        run(attacks=attacks, folder=folder, num_pictures=4, checkpoint_dir=place)
    assert list(place.glob("*.npz"))
    made: list[tuple] = []
    again = run(attacks=counted(made), folder=folder, num_pictures=4, checkpoint_dir=place)
    assert timeless(again) == timeless(whole)
    assert sum(name == "PGD" for name, _, _ in made) == 12 - calls
    pictures = [picture.sha256 for row in whole.gallery for picture in row]
    assert pictures == [picture.sha256 for row in again.gallery for picture in row]
    delete_chunks(place)
    assert not place.exists()


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """The pieces that a run keeps."""
    folder = tmp_path_factory.mktemp("pieces")
    run(checkpoint_dir=folder)
    return folder


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"seed": 4}, "seed = 3, now 4"),
        ({"batch_size": 8}, "batch_size = 16, now 8"),
        ({"max_queries": 9}, "max_queries = None, now 9"),
        ({"threats": SIZES[:2]}, "threats = "),
        ({"attacks": {"fgsm": FGSM(), "pgd": PGD(steps=9)}}, "steps=9"),
        ({"data": points(59)}, "data = "),
    ],
)
def test_pieces_of_other_settings_are_refused_by_the_difference(pieces, tmp_path, words, told):
    shutil.copytree(pieces, tmp_path / "p")
    with pytest.raises(RunFolderError, match="other settings") as error:
        run(**{"checkpoint_dir": tmp_path / "p", **words})
    assert told in str(error.value)


def test_damaged_pieces_and_settings_are_named(pieces, tmp_path):
    shutil.copytree(pieces, tmp_path, dirs_exist_ok=True)
    piece = sorted(tmp_path.glob("*.npz"))[0]
    piece.write_bytes(piece.read_bytes()[:100])
    with pytest.raises(RunFolderError, match="damaged; delete it"):
        run(checkpoint_dir=tmp_path)
    (tmp_path / "settings.json").write_text("[")
    with pytest.raises(RunFolderError, match="cannot be read"):
        run(checkpoint_dir=tmp_path)


def test_a_piece_survives_its_file_and_holds_no_pickle(tmp_path):
    piece = replace(
        Chunk.empty((1, 3, 3)),
        rows=np.array([3]),
        found_by=np.array(["ü"]),
        size=np.array([math.inf]),
        seconds=1.5,
    )
    store = ChunkStore(tmp_path, {"seed": 1})
    store.put(ChunkKey(0, "a", "linf:1/255"), piece)
    again = store.get(ChunkKey(0, "a", "linf:1/255"))
    assert (again.rows.tolist(), again.found_by.tolist(), again.size.tolist(), again.seconds) == (
        [3],
        ["ü"],
        [math.inf],
        1.5,
    )
    assert store.get(ChunkKey(1, "a", "linf:1/255")) is None
    assert store.get(ChunkKey(0, "b", "linf:1/255")) is None


def test_a_full_disk_is_an_error_and_no_partial_result(pieces, tmp_path, monkeypatch):
    shutil.copytree(pieces, tmp_path / "p")
    monkeypatch.setattr(ChunkStore, "get", lambda *_: None)
    monkeypatch.setattr(ChunkStore, "put", lambda *_: (_ for _ in ()).throw(StorageError("full")))
    with pytest.raises(StorageError):
        run(checkpoint_dir=tmp_path / "p")
