"""Names and files become classifiers; what goes wrong in a user's file is told in one line."""

import sys
import textwrap
import warnings

import pytest
import torch

from quintain.core.errors import ModelError, NotFoundError, SettingError, UnknownNameError
from quintain.core.registry import Entry
from quintain.models import load_model, mlp, save_weights
from quintain.models import loading as module

NET = """
    from dataclasses import dataclass
    import torch
    from torch import nn
    from beside import WIDTH

    @dataclass
    class Config:
        width: int = WIDTH

    class Net(nn.Module):
        def __init__(self, classes=2):
            super().__init__()
            self.line = nn.Linear(Config().width, classes)
            nn.init.ones_(self.line.weight)

        def forward(self, x):
            return {"logits": self.line(x.flatten(1))}

    def make():
        return Net()

    def sized(num_classes, channels, size):
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, num_classes))

    def broken():
        raise RuntimeError("no GPU here")

    def quits():
        raise SystemExit(3)

    def number():
        return 3

    ready = Net()
    text = "net"
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "beside.py").write_text("WIDTH = 4\n")
    path = tmp_path / "net.py"
    path.write_text(textwrap.dedent(NET))
    yield path
    sys.modules.pop("beside", None)


def test_a_name_is_built_to_size_in_evaluation_mode():
    model = load_model("xray-cnn", num_classes=5, channels=3, size=16)
    assert model(torch.rand(2, 3, 16, 16)).shape == (2, 5)
    assert (model.num_classes, model.name) == (5, "xray-cnn")
    assert not model.net.training


def test_weights_are_loaded(tmp_path):
    save_weights(mlp(seed=5), tmp_path / "w.safetensors")
    assert (
        load_model("mlp", tmp_path / "w.safetensors").hash
        == load_model("mlp", str(tmp_path / "w.safetensors")).hash
    )
    assert load_model("mlp", tmp_path / "w.safetensors").hash != load_model("mlp").hash


@pytest.mark.parametrize("factory", ["make", "Net", "ready"])
def test_a_function_a_class_or_a_net_of_a_file(file, factory):
    path = list(sys.path)
    model = load_model(f"{file}:{factory}")
    assert model(torch.zeros(3, 4)).shape == (3, 2)
    assert not model.net.training
    assert sys.path == path


def test_a_factory_gets_the_sizes_that_it_takes(file):
    assert load_model(f"{file}:Net", num_classes=6, channels=1, size=2)(torch.zeros(3, 1, 2, 2)).shape == (
        3,
        6,
    )
    assert load_model(f"{file}:sized", num_classes=6, channels=2, size=5)(torch.zeros(3, 2, 5, 5)).shape == (
        3,
        6,
    )


def test_a_model_is_its_program_and_weights_not_the_place_of_its_file(file, tmp_path):
    weights = tmp_path / "w.safetensors"
    save_weights(load_model(f"{file}:make").net, weights)
    moved, changed = tmp_path / "moved.py", tmp_path / "changed.py"
    moved.write_text("# moved\n" + file.read_text())
    changed.write_text(file.read_text().replace("self.line(x.flatten(1))", "-self.line(x.flatten(1))"))
    first, second, third = (load_model(f"{path}:make", weights).hash for path in (file, moved, changed))
    assert first == second != third


def test_an_edited_file_is_run_again(file):
    first = load_model(f"{file}:make").net.line.out_features
    file.write_text(file.read_text().replace("classes=2", "classes=3 + 6"))
    assert (first, load_model(f"{file}:make").net.line.out_features) == (2, 9)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("broken", r"net.py, line 27: RuntimeError: no GPU here"),
        ("quits", r"net.py, line 30: SystemExit: 3"),
        ("number", "net.py:number returns a int; expected a torch.nn.Module"),
        ("text", "net.py:text is a str; expected a function or class"),
        ("sized", r"missing 3 required positional arguments"),
    ],
)
def test_a_factory_that_gives_no_net_is_refused(file, factory, message):
    with pytest.raises(ModelError, match=message):
        load_model(f"{file}:{factory}")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def make(:\n", r"net.py, line 1: "),
        (
            "x = 1\nimport no_such_thing\n",
            "net.py, line 2: ModuleNotFoundError: No module named 'no_such_thing'",
        ),
        ("x = 1 / 0\n", "net.py, line 1: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit('usage: net.py')\n", "line 2: SystemExit: usage"),
    ],
)
def test_errors_in_a_file_are_told_with_their_line(tmp_path, source, message):
    (tmp_path / "net.py").write_text(source)
    before = set(sys.modules)
    with pytest.raises(ModelError, match=message):
        load_model(f"{tmp_path / 'net.py'}:make")
    assert not {name for name in set(sys.modules) - before if name.startswith("quintain_user") and source}


def test_a_file_without_a_factory_or_that_is_not_there(file):
    with pytest.raises(SettingError, match=r"names no factory; expected .*net.py:make"):
        load_model(str(file))
    with pytest.raises(NotFoundError, match=r"there is no file .*absent.py"):
        load_model(f"{file.parent / 'absent.py'}:make")
    offered = "Config, Net, broken, make, number, quits, ready, sized"
    with pytest.raises(NotFoundError, match=f"has no 'mak'; it has {offered}"):
        load_model(f"{file}:mak")
    file.write_text("")
    with pytest.raises(NotFoundError, match="has no 'make'; it has no function or class"):
        load_model(f"{file}:make")


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean xray-cnn"):
        load_model("xray_cnn")


def test_a_registered_factory_that_fails_is_told_by_its_name(monkeypatch):
    monkeypatch.setattr(module, "get_entry", lambda kind, name: Entry("model", "odd", "operator:truediv", ""))
    with pytest.raises(ModelError, match="odd: TypeError"):
        load_model("odd")


def test_a_factory_that_knows_no_seed_draws_the_same_weights_for_one_seed_and_leaves_the_generator_alone(
    tmp_path,
):
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))\n"
    )
    before = torch.default_generator.get_state()
    one, same, other = (load_model(f"{tmp_path / 'net.py'}:make", seed=seed).hash for seed in (1, 1, 2))
    assert one == same != other
    assert torch.equal(torch.default_generator.get_state(), before)


def test_a_warning_of_a_factory_is_shown_once_however_many_nets_are_made(tmp_path):
    file = tmp_path / "warns.py"
    file.write_text(
        "import warnings\nfrom torch import nn\n\n\ndef make(seed=0):\n"
        "    warnings.warn('old weights', UserWarning)\n    warnings.warn(f'seed {seed}')\n"
        "    return nn.Linear(2, 2)\n"
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for seed in (0, 0, 1):
            load_model(f"{file}:make", seed=seed)
    assert [str(one.message) for one in caught] == ["old weights", "seed 0", "seed 1"]
    assert {one.filename for one in caught} == {str(file)}


LAZY = """
import torch
from torch import nn

def lazy():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(2))

def lazy_once():
    net = lazy()
    net(torch.zeros(1, 4))
    return net
"""


def test_layers_without_a_shape_are_refused_with_what_to_do_and_one_forward_pass_is_enough(tmp_path):
    file = tmp_path / "lazy.py"
    file.write_text(LAZY)
    with pytest.raises(SettingError, match=r"LazyLinear\); run one forward pass in the factory"):
        load_model(f"{file}:lazy")
    assert load_model(f"{file}:lazy_once").predict(torch.zeros(3, 4)).shape == (3,)
