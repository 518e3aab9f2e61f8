"""A run of attacks that is cut off: what stays, and what comes out the same."""

import math
import shutil
from dataclasses import dataclass, replace

import numpy as np
import pytest

from quintain.attacks import FGSM, PGD
from quintain.core.errors import ExecutionError, RunFolderError, StorageError
from quintain.evaluate.evasion.checkpoint import Chunk, ChunkKey, ChunkStore, delete_chunks
from quintain.evaluate.evasion.job import AttackJob
from quintain.evaluate.evasion.shard import run_shard
from quintain.results.run_layout import UNFINISHED
from tests.evaluate.support.attacked import ATTACKS, SIZES, counted, points, run, subject, timeless


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


WHOLE_BATCHES = {"checkpoint_seconds": math.inf}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    return run(folder=folder, num_pictures=4, checkpoint_dir=folder / UNFINISHED, **WHOLE_BATCHES)


@pytest.mark.parametrize("calls", [0, 1, 5, 11])
def test_an_interrupted_run_goes_on_where_it_was_and_comes_to_the_same(tmp_path, whole, calls):
    folder, place = tmp_path / "cut", tmp_path / "cut" / UNFINISHED
    attacks = {**ATTACKS, "pgd": Cut(ATTACKS["pgd"], calls, KeyboardInterrupt())}
    with pytest.raises(KeyboardInterrupt) as stop:
        run(attacks=attacks, folder=folder, num_pictures=4, checkpoint_dir=place, **WHOLE_BATCHES)
    assert len(list(place.glob("*.npz"))) == int(str(stop.value).split()[0])
    assert "examples, counted once for each of 6 attacks and sizes)" in str(stop.value)
    made: list[tuple] = []
    again = run(attacks=counted(made), folder=folder, num_pictures=4, checkpoint_dir=place, **WHOLE_BATCHES)
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
    (again,) = again
    assert (again.rows.tolist(), again.found_by.tolist(), again.size.tolist(), again.seconds) == (
        [3],
        ["ü"],
        [math.inf],
        1.5,
    )
    assert store.get(ChunkKey(1, "a", "linf:1/255")) == []
    assert store.get(ChunkKey(0, "b", "linf:1/255")) == []


def test_a_full_disk_is_an_error_and_no_partial_result(pieces, tmp_path, monkeypatch):
    shutil.copytree(pieces, tmp_path / "p")
    monkeypatch.setattr(ChunkStore, "get", lambda *_: [])
    monkeypatch.setattr(ChunkStore, "put", lambda *_: (_ for _ in ()).throw(StorageError("full")))
    with pytest.raises(StorageError):
        run(checkpoint_dir=tmp_path / "p")


class Clock:
    """Seconds that pass with each example that an attack is called with, and with no other call."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def slow(self, attack, seconds):
        """An attack that takes so long for an example."""

        @dataclass
        class Slow:
            inner: object

            def __call__(slow, model, x, *arguments, **words):
                self.now += seconds * len(x)
                return slow.inner(model, x, *arguments, **words)

            def __repr__(slow):
                return repr(slow.inner)

        return Slow(attack)


@pytest.fixture
def any_batch(monkeypatch):
    """Small batches lose nothing, whatever the machine says."""
    monkeypatch.setattr("quintain.evaluate.evasion.shard.smallest_batch", lambda *_: 4)


def shard(attack, clock, folder=None, threat=SIZES[2], **words):
    data = points()
    job = AttackJob(threats=(threat,), attacks={"pgd": attack}, seed=3, batch_size=512)
    correct = subject().model.predict(data.batch(range(60))[0]).numpy() == data.labels
    store = None if folder is None else ChunkStore(folder, job.fingerprint)
    return run_shard(job, subject().model, data, correct, np.zeros(60), store=store, clock=clock, **words)


@pytest.mark.usefixtures("any_batch")
def test_a_chunk_lasts_about_as_long_as_was_asked_for_and_changes_nothing(tmp_path):
    clock, made = Clock(), []
    attack = clock.slow(counted(made)["pgd"], 2.0)
    split = shard(attack, clock, tmp_path)
    sizes = [len(ids) for _, _, ids in made]
    assert sizes[0] == 4  # the trial
    assert set(sizes[1:-1]) == {5}
    assert sizes[-1] <= 7
    (key,) = split.chunks
    whole = shard(PGD(steps=8), Clock()).chunks[key]
    assert split.chunks[key].rows.tolist() == whole.rows.tolist()
    assert split.chunks[key].broken.tolist() == whole.broken.tolist()
    assert split.chunks[key].radius == pytest.approx(whole.radius, rel=1e-5)
    assert len(ChunkStore(tmp_path, {}).get(key)) == len(sizes)


@pytest.mark.usefixtures("any_batch")
def test_what_is_cut_off_in_a_batch_goes_on_inside_the_batch(tmp_path):
    clock, made = Clock(), []
    attack = clock.slow(Cut(counted(made)["pgd"], 3, KeyboardInterrupt()), 2.0)
    with pytest.raises(KeyboardInterrupt, match=r"^3 chunks \((\d+) of 60 examples\)$"):
        shard(attack, clock, tmp_path)
    before, (key, *_) = [row for _, _, ids in made for row in ids], [ChunkKey(0, "pgd", SIZES[2].spec)]
    made.clear()
    again = shard(clock.slow(counted(made)["pgd"], 2.0), clock, tmp_path)
    after = [row for _, _, ids in made for row in ids]
    assert not set(before) & set(after)
    assert again.chunks[key].rows.tolist() == sorted(before + after)


@pytest.mark.usefixtures("any_batch")
def test_without_a_place_for_chunks_and_for_quick_attacks_a_batch_stays_whole(tmp_path):
    for folder, seconds in ((None, 2.0), (tmp_path / "inf", 2.0)):
        clock, made = Clock(), []
        attack = clock.slow(counted(made)["pgd"], seconds)
        shard(attack, clock, folder, checkpoint_seconds=math.inf)
        assert len(made) == 1
    clock, made = Clock(), []
    shard(clock.slow(counted(made)["pgd"], 0.01), clock, tmp_path / "quick")
    assert len(made) == 2  # the trial, and the rest


@pytest.mark.usefixtures("any_batch")
def test_a_model_that_dies_inside_a_batch_leaves_what_was_found_in_it(tmp_path):
    clock = Clock()
    attack = clock.slow(Cut(PGD(steps=8), 3, ExecutionError("gone")), 2.0)
    found = shard(attack, clock, tmp_path)
    assert found.stop_reason == "gone"
    (chunk,) = found.chunks.values()
    assert len(chunk.rows) == 14
    assert not found.finished_batches


def test_memory_holds_the_adversarial_examples_that_are_shown_and_the_files_hold_all(tmp_path):
    data = points()
    correct = subject().model.predict(data.batch(range(60))[0]).numpy() == data.labels
    job = AttackJob(
        threats=(SIZES[2],), attacks=ATTACKS, seed=3, batch_size=16, num_pictures=2, probed=frozenset({40})
    )
    store = ChunkStore(tmp_path, {})
    found = run_shard(job, subject().model, data, correct, np.zeros(60), store=store)
    assert sorted({row for chunk in found.chunks.values() for row in chunk.kept.tolist()})[2:] in ([], [40])
    for key, chunk in found.chunks.items():
        saved = Chunk.concatenate(store.get(key))
        assert saved.kept.tolist() == saved.rows[saved.broken].tolist()
        assert len(saved.images) == chunk.broken.sum()
        assert set(chunk.kept.tolist()) <= set(saved.kept.tolist())
