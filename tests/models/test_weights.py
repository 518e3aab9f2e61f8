"""Weights are saved whole, read without unpickling, and fit or are refused."""

import os
import pickle

import pytest
import torch
from torch import nn

from quintain.core.errors import ModelError, NotFoundError, StorageError
from quintain.core.files import sha256_file
from quintain.models import load_weights, mlp, save_weights


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


def test_weights_come_back_as_they_were(tmp_path):
    path = tmp_path / "w.safetensors"
    digest = save_weights(mlp(seed=1), path)
    assert digest == sha256_file(path) == save_weights(mlp(seed=1), tmp_path / "again.safetensors")
    net = mlp(seed=2)
    assert load_weights(net, path) is net
    assert same(net, mlp(seed=1))
    assert net.training


def test_every_kind_of_tensor_comes_back(tmp_path):
    def make():
        net = nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2), nn.Linear(2, 2)
        ).double()
        net[4].weight = net[3].weight
        net[3].bias = nn.Parameter(torch.arange(4.0)[::2].double())
        return net

    net, other = make(), make()
    net[1].running_mean += 3
    net[1].num_batches_tracked += 7
    save_weights(net, tmp_path / "w.safetensors")
    assert same(load_weights(other, tmp_path / "w.safetensors"), net)
    assert other[4].weight is other[3].weight


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: w,
        lambda w: {"epoch": 3, "state_dict": w},
        lambda w: {"model_state_dict": w, "optimizer": {"lr": 0.1}},
        lambda w: {"model": w, "epoch": 3},
        lambda w: {"net": {"state_dict": w}},
    ],
)
@pytest.mark.parametrize("end", [".pt", ".pth", ".ckpt", ".bin", ".pth.tar"])
def test_state_dicts_of_torch_are_read(tmp_path, wrap, end):
    torch.save(wrap(mlp(seed=1).state_dict()), tmp_path / f"w{end}")
    assert same(load_weights(mlp(seed=2), tmp_path / f"w{end}"), mlp(seed=1))


PREFIXES = {
    "parallel": ("module.", ""),
    "compiled": ("_orig_mod.", ""),
    "both": ("module._orig_mod.", ""),
    "both, the other way": ("_orig_mod.module.", ""),
    "Opacus": ("_module.", ""),
    "Lightning": ("model.", ""),
    "Lightning, compiled": ("model._orig_mod.", ""),
    "a layer compiled": ("", "_orig_mod."),
}


@pytest.mark.parametrize(("outer", "inner"), PREFIXES.values(), ids=PREFIXES)
def test_names_of_what_was_around_a_net_are_left_out(tmp_path, outer, inner):
    def renamed(name):
        layer, _, leaf = name.partition(".")
        return f"{outer}{layer}.{inner}{leaf}"

    torch.save({renamed(name): w for name, w in mlp(seed=1).state_dict().items()}, tmp_path / "w.pt")
    assert same(load_weights(mlp(seed=2), tmp_path / "w.pt"), mlp(seed=1))


def test_weights_of_a_compiled_net_fit_it_and_the_net_itself(tmp_path):
    save_weights(torch.compile(mlp(seed=1)), tmp_path / "compiled.safetensors")
    save_weights(mlp(seed=1), tmp_path / "plain.safetensors")
    for name in ("compiled", "plain"):
        for net in (mlp(seed=2), nn.DataParallel(mlp(seed=2)), torch.compile(mlp(seed=2))):
            assert same(load_weights(net, tmp_path / f"{name}.safetensors"), mlp(seed=1))


def test_a_prefix_that_explains_not_all_is_told_without_it(tmp_path):
    content = {f"module.{name}": w for name, w in mlp().state_dict().items()}
    content["module.9.weight"] = content.pop("module.3.weight")
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"missing: 3\.weight; unexpected: 9\.weight\."):
        load_weights(mlp(), tmp_path / "w.pt")


def test_a_name_of_its_own_is_no_wrapper(tmp_path):
    class Holding(nn.Module):
        def __init__(self):
            super().__init__()
            self.module, self.bias = nn.Linear(2, 2), nn.Parameter(torch.ones(2))

    net, other = Holding(), Holding()
    save_weights(net, tmp_path / "w.safetensors")
    assert same(load_weights(other, tmp_path / "w.safetensors"), net)
    torch.save({"bias": torch.zeros(2), "module.bias": torch.zeros(2)}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"missing: module\.weight\."):
        load_weights(other, tmp_path / "w.pt")


def test_weights_of_more_classes_say_how_many_to_ask_for(tmp_path):
    save_weights(mlp(num_classes=10), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"3\.weight \(10, 32\) for \(2, 32\).*give --classes 10"):
        load_weights(mlp(), tmp_path / "w.safetensors")


class Bomb:
    """Writes a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings("error")
def test_nothing_is_unpickled(tmp_path):
    for name in ("w.pt", "w.pth", "w.bin", "w.ckpt", "w.pth.tar"):
        torch.save({"w": Bomb(tmp_path / "exploded")}, tmp_path / name)
        with pytest.raises(
            ModelError,
            match=r"w.* is refused: it holds more than tensors, and unpickling can run any code",
        ):
            load_weights(mlp(), tmp_path / name)
    for name in ("w.pkl", "w.pickle", "w.joblib", "w"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
        with pytest.raises(ModelError, match=r"is refused: such files are read by unpickling.*convert it"):
            load_weights(mlp(), tmp_path / name)
    for name in ("plain.pt", "plain.bin", "plain.ckpt", "plain.tar"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
        with pytest.raises(ModelError, match=name.replace(".", r"\.")):
            load_weights(mlp(), tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def test_a_whole_model_in_a_file_is_refused(tmp_path):
    torch.save(mlp(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"torch.save\(net.state_dict\(\), path\)"):
        load_weights(mlp(), tmp_path / "w.pt")


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {"a": 1}, {"state_dict": 3}])
def test_a_file_without_a_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="not a state dict"):
        load_weights(mlp(), tmp_path / "w.pt")


def test_a_dict_around_a_state_dict_is_named_by_its_keys(tmp_path):
    torch.save({"generator": mlp().state_dict(), "epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="holds a dict with 'generator', 'epoch' that is not a state dict"):
        load_weights(mlp(), tmp_path / "w.pt")


def test_weights_of_another_net_name_what_does_not_fit(tmp_path):
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 2, bias=False), nn.Linear(2, 2)
    )
    save_weights(net, tmp_path / "w.safetensors")
    target = mlp()
    with pytest.raises(ModelError) as caught:
        load_weights(target, tmp_path / "w.safetensors")
    message = str(caught.value)
    assert "missing: 3.bias" in message
    assert "unexpected: 4.bias, 4.weight" in message
    assert "1.weight (16, 784) for (32, 784)" in message
    assert same(target, mlp())


def test_long_lists_are_cut(tmp_path):
    save_weights(nn.Sequential(*[nn.Linear(2, 2) for _ in range(9)]), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"unexpected: .* and 9 more"):
        load_weights(mlp(), tmp_path / "w.safetensors")


@pytest.mark.parametrize("end", [".safetensors", ".pt"])
@pytest.mark.parametrize("keep", [0, 5, 100, -40])
def test_damaged_files_are_refused(tmp_path, end, keep):
    path = tmp_path / f"w{end}"
    if end == ".pt":
        torch.save(mlp().state_dict(), path)
    else:
        save_weights(mlp(), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=f"w{end}"):
        load_weights(mlp(), path)


def test_a_missing_file_says_what_is_accepted(tmp_path):
    with pytest.raises(NotFoundError, match=r"no weights file .*expected a .safetensors, .pt or .pth"):
        load_weights(mlp(), tmp_path / "w.safetensors")


def test_what_was_there_stays_when_saving_fails(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    digest = save_weights(mlp(seed=1), path)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        save_weights(mlp(seed=2), path)
    assert sha256_file(path) == digest
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.safetensors"]
