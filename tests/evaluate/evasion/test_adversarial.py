"""The file with every adversarial example of a run: what it holds, and that it can be trusted."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from quintain.attacks import DDN, PGD
from quintain.core.errors import RunFolderError, StorageError
from quintain.evaluate.evasion.adversarial import open_adversarial
from quintain.threats import L2, parse
from quintain.threats.threat import contains
from tests.evaluate.support.attacked import ATTACKS, SIZES, points, run, subject


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The run folder of two attacks at three sizes."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def found(folder):
    """What the run found."""
    return run(
        folder=folder, checkpoint_dir=folder / "unfinished", num_pictures=1, data_options={"data": "points"}
    )


def examples(path, digest, size=1000):
    with open_adversarial(path, digest) as stored:
        return stored.source, list(stored.batches(size))


def test_every_break_of_every_attack_is_stored_inside_its_threat_and_breaks_the_model(folder, found):
    kept = found.adversarial
    tensors = load_file(folder / kept.path)
    assert len(tensors["ids"]) == kept.num_stored
    for spec in {row.threat for row in found.rows}:
        for index, name in enumerate(ATTACKS):
            row = next(one for one in found.rows if (one.attack, one.threat) == (name, spec))
            up_to = [at for at, size in enumerate(SIZES) if size.eps <= parse(spec).eps]
            mine = (tensors["attack"] == index) & torch.isin(tensors["threat"], torch.tensor(up_to))
            assert int(mine.sum()) == row.num_broken
    x, y = points().batch(tensors["ids"])
    assert tensors["labels"].tolist() == y.tolist()
    assert (subject().model.predict(tensors["x_adv"]) != y).all()
    for index, threat in enumerate(SIZES):
        mine = tensors["threat"] == index
        assert mine.any()
        assert contains(threat, tensors["x_adv"][mine], x[mine]).all()
        assert tensors["distance"][mine].equal(threat.measure(tensors["x_adv"][mine], x[mine]))


def test_the_file_says_what_it_was_made_on_and_by(folder, found):
    source, _ = examples(folder / found.adversarial.path, found.adversarial.sha256)
    assert source.attacks == tuple(ATTACKS)
    assert source.threats == tuple(threat.spec for threat in SIZES)
    assert (source.model_title, source.model_hash) == ("tiny model", subject().file.model_hash)
    assert source.data_hash == points().hash
    assert source.data_options == {"data": "points"}


def test_a_batch_at_a_time_gives_the_same(folder, found):
    kept = found.adversarial
    _, (whole,) = examples(folder / kept.path, kept.sha256)
    _, parts = examples(folder / kept.path, kept.sha256, size=7)
    assert len(parts) > 3
    for name in ("x_adv", "ids", "distance", "params"):
        assert torch.cat([getattr(part, name) for part in parts]).equal(getattr(whole, name))


def test_a_run_that_was_cut_off_stores_the_same_file(folder, found, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(
            attacks={**ATTACKS, "pgd": Named(ATTACKS["pgd"])},
            folder=tmp_path,
            checkpoint_dir=tmp_path / "unfinished",
            num_pictures=1,
        )
    again = run(folder=tmp_path, checkpoint_dir=tmp_path / "unfinished", num_pictures=1)
    kept, first = load_file(tmp_path / again.adversarial.path), load_file(folder / found.adversarial.path)
    assert all(kept[name].equal(first[name]) for name in first)


class Named:
    """An attack that is cut off, under the name of what it wraps."""

    def __init__(self, inner):
        self.inner = inner

    def __call__(self, *_arguments, **_words):
        raise KeyboardInterrupt

    def __repr__(self):
        return repr(self.inner)


def test_parameters_are_stored_where_the_adversary_chooses_them(tmp_path):
    threat = parse("color:brightness=0.3")
    found = run(
        threats=[threat], attacks={"pgd": PGD(steps=8)}, folder=tmp_path, checkpoint_dir=tmp_path / "u"
    )
    _, (one,) = examples(tmp_path / found.adversarial.path, found.adversarial.sha256)
    assert len(one.ids)
    x, _ = points().batch(one.ids)
    assert one.params.shape == (len(one.ids), threat.num_params(x))
    torch.testing.assert_close(threat.render(x, one.params), one.x_adv)


def test_the_smallest_change_is_stored_with_its_size(tmp_path):
    found = run(threats=[L2(1.0)], attacks={"ddn": DDN()}, folder=tmp_path, checkpoint_dir=tmp_path / "u")
    _, (one,) = examples(tmp_path / found.adversarial.path, found.adversarial.sha256)
    radii = np.array(found.examples.broken_radius)
    assert one.distance.tolist() == radii[one.ids.numpy()].tolist()


def test_a_run_without_a_break_stores_an_empty_file(tmp_path):
    found = run(threats=[parse("linf:1e-9")], folder=tmp_path, checkpoint_dir=tmp_path / "u")
    assert found.adversarial.num_stored == 0
    _, batches = examples(tmp_path / found.adversarial.path, found.adversarial.sha256)
    assert batches == []


@pytest.mark.parametrize("change", ["gone", "cut", "other"])
def test_a_file_that_is_not_what_was_stored_is_refused(folder, found, tmp_path, change):
    path = tmp_path / "a.safetensors"
    data = (folder / found.adversarial.path).read_bytes()
    if change != "gone":
        path.write_bytes(data[:-8] if change == "cut" else data[:-1] + b"x")
    with (
        pytest.raises(RunFolderError, match="run the attack again"),
        open_adversarial(path, found.adversarial.sha256),
    ):
        pass


def test_a_file_of_another_kind_is_refused(tmp_path):
    from safetensors.torch import save_file

    from quintain.core.files import sha256_file

    path = tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(RunFolderError, match="cannot be read"), open_adversarial(path, sha256_file(path)):
        pass


def test_a_full_disk_leaves_no_half_of_a_file(tmp_path, monkeypatch):
    def full(*_arguments, **_words):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("quintain.core.files.os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        run(folder=tmp_path, checkpoint_dir=tmp_path / "u")
    assert not list(tmp_path.glob("*.safetensors*"))
