"""Opacus' names: each is here, under its old path, or refused with its reason; and those that only scripts of
Opacus call.
"""

import copy
import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, TensorDataset

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp import PrivacyEngine, opacus
from quintain.dp.distributed import World
from quintain.dp.opacus.data_loader import switch_generator
from quintain.dp.opacus.grad_sample import (
    GradSampleModule,
    GradSampleModuleFastGradientClipping,
    get_gsm_class,
    register_grad_sampler,
    wrap_model,
)
from quintain.dp.opacus.layers import SequenceBias
from quintain.dp.opacus.optimizers import (
    AdaClipDPOptimizer,
    DistributedDPOptimizer,
    DPPerLayerOptimizer,
    ddpoptimizer,
    get_optimizer_class,
)
from quintain.dp.opacus.optimizers.optimizer import DPOptimizer
from quintain.dp.opacus.refused import REFUSED
from quintain.dp.opacus.utils.per_sample_gradients_utils import check_per_sample_gradients_are_correct
from quintain.dp.opacus.validators import ModuleValidator, register_module_fixer, register_module_validator
from quintain.dp.opacus.validators.errors import IllegalModuleConfigurationError
from quintain.dp.step.adaptive import AdaptiveClipping

PAGE = (Path(__file__).parents[3] / "docs/coming-from-opacus.md").read_text(encoding="utf-8")


def rows(title: str) -> list[list[str]]:
    """The lines of the table under a heading, cell by cell."""
    part = PAGE.split(f"\n## {title}", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def resolve(name: str) -> object:
    """What a dotted name under ``quintain.dp`` stands for."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(["quintain.dp", *parts[:cut]]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    return getattr(importlib.import_module("quintain.dp"), name)


def test_every_name_of_the_table_is_there() -> None:
    table = rows("Names")
    assert len(table) > 30
    for there, here, *_ in table:
        for name in re.findall(r"`([\w.]+)`", here):
            assert resolve(name) is not None, name
        assert "`" in there


def own_modules() -> dict[str, ModuleType]:
    """The modules of ``quintain.dp.opacus`` that have a file, by their path there; those of Opacus alone."""
    found = {
        info.name.removeprefix("quintain.dp.opacus."): importlib.import_module(info.name)
        for info in pkgutil.walk_packages(opacus.__path__, "quintain.dp.opacus.")
    }
    return {path: module for path, module in {"": opacus, **found}.items() if hasattr(module, "__all__")}


def test_every_module_has_a_file_its_names_and_no_others() -> None:
    assert {"utils.batch_memory_manager", "validators.errors", "accountants.utils"} <= set(own_modules())
    for path, module in own_modules().items():
        assert Path(module.__file__).is_file()
        assert path in KNOWN or (not module.__all__ and any(known.startswith(f"{path}.") for known in KNOWN))
        for name in module.__all__:
            assert getattr(module, name) is not None
        with pytest.raises(AttributeError, match="has no attribute"):
            module.nonsense  # noqa: B018


LISTED = {
    module: names.split()
    for module, names in (
        line.split(": ")
        for line in Path(__file__).with_name("opacus_1_6.txt").read_text(encoding="utf-8").splitlines()
        if line[0] != "#"
    )
}
"""Opacus' public names, module by module; ``benchmarks.dp.names`` holds the list against what is
installed.
"""

KNOWN = {module.removeprefix("opacus").removeprefix(".") for module in LISTED}
"""Their paths inside ``opacus``."""


def old(module: str) -> ModuleType:
    """What an old path leads to."""
    return importlib.import_module(f"quintain.dp.{module}")


@pytest.mark.parametrize("module", LISTED)
def test_each_public_name_of_opacus_is_here_or_refused_with_its_reason(module: str) -> None:
    path = module.removeprefix("opacus").removeprefix(".")
    here, refused = old(module).__all__, REFUSED.get(path, {})
    assert sorted([*here, *refused]) == sorted(LISTED[module])
    for name in refused:
        with pytest.raises(ImportError, match=rf"{module}\.{name} is not in quintain\.dp: .{{20}}"):
            getattr(old(module), name)
    for name in here:
        assert getattr(old(module), name) is not None


def test_no_refusal_is_there_that_opacus_has_not() -> None:
    assert set(REFUSED) <= KNOWN
    for nonsense in ("nonsense", "layers.nonsense", "accountants.analysis.nonsense"):
        with pytest.raises(ModuleNotFoundError, match="nonsense"):
            old(f"opacus.{nonsense}")
    with pytest.raises(
        ImportError, match=r"layers\.dp_rnn\.DPLSTMCell is not in quintain\.dp: .*torch's own layers"
    ):
        from quintain.dp.opacus.layers.dp_rnn import DPLSTMCell  # noqa: F401


def test_each_old_name_of_the_table_is_importable_by_its_old_path() -> None:
    homes = {
        name: module for module, names in LISTED.items() for name in names if name in old(module).__all__
    }
    checked = 0
    for there, *_ in rows("Names"):
        names = re.findall(r"`([\w.]+)`", there)
        owner = names[0].split(".")[0]
        for name in names:
            if name in LISTED:
                assert old(name).__all__
                continue
            *path, last = name.split(".")
            if path and path[0] == "opacus":
                assert getattr(old(".".join(path)), last) is not None
            elif path or last not in homes:  # of a class, which the first name of the line tells
                found = getattr(old(homes[owner]), owner)
                engine = found() if owner == "PrivacyEngine" else found
                assert hasattr(engine, last), name
            else:
                assert getattr(old(homes[last]), last) is not None
            checked += 1
    assert checked > 70


def test_each_refusal_of_the_page_has_a_reason() -> None:
    table = rows("Refused")
    assert len(table) > 8
    assert all(len(line) == 3 and line[1] and line[2] for line in table)


def test_wrappers_of_all_modes_show_the_gradients_of_single_examples() -> None:
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    for mode in ("hooks", "functorch", "ew", "ghost"):
        wrapped = wrap_model(nn.Linear(4, 2), mode, loss_reduction="sum")
        assert isinstance(wrapped, get_gsm_class(mode))
        assert isinstance(wrapped, GradSampleModule)
        wrapped(x).sum().backward()
        torch.testing.assert_close(wrapped.weight.grad_sample, x[:, None].expand(3, 2, 4))
    assert isinstance(
        GradSampleModuleFastGradientClipping(nn.Linear(4, 2), max_grad_norm=2.0, use_ghost_clipping=False),
        nn.Module,
    )
    with pytest.raises(SettingError, match=r"'ghost_fsdp'.*not sharded"):
        get_gsm_class("ghost_fsdp")


def test_optimizers_by_hand_clip_as_their_names_say(blobs) -> None:
    settings, start = {"noise_multiplier": 0.0, "expected_batch_size": 40}, nn.Linear(6, 2)

    def clipped(kind: type[DPOptimizer], **more) -> Tensor:
        net = GradSampleModule(copy.deepcopy(start))
        optimizer = kind(torch.optim.SGD(net.parameters(), lr=0.0), **settings, **more)
        F.cross_entropy(net(blobs[0]), blobs[1]).backward()
        optimizer.step()
        return torch.cat([p.grad.flatten() for p in optimizer.params])

    adaptive = {
        "target_unclipped_quantile": 0.5,
        "clipbound_learning_rate": 0.2,
        "max_clipbound": 10.0,
        "min_clipbound": 0.01,
        "unclipped_num_std": 2.0,
    }
    flat = clipped(get_optimizer_class("flat", False), max_grad_norm=0.3)
    torch.testing.assert_close(clipped(AdaClipDPOptimizer, max_grad_norm=0.3, **adaptive), flat)
    torch.testing.assert_close(clipped(get_optimizer_class("flat", True), max_grad_norm=0.3), flat)
    per_layer = clipped(DPPerLayerOptimizer, max_grad_norm=[0.3, 1e6])
    assert per_layer[:12].norm() <= 0.3
    assert per_layer[12:].norm() > flat[12:].norm()
    net = GradSampleModule(start)
    made = AdaClipDPOptimizer(
        torch.optim.SGD(net.parameters(), lr=0.0), max_grad_norm=0.3, **settings, **adaptive
    )
    assert made.clip == AdaptiveClipping(
        0.3, unclipped_count_std=2.0, target_quantile=0.5, learning_rate=0.2, min_bound=0.01, max_bound=10.0
    )
    assert get_optimizer_class("adaptive", False, "ghost") is AdaClipDPOptimizer
    for wrong in (("automatic", False), ("adaptive", True), ("flat", False, "ghost_tp")):
        with pytest.raises(SettingError, match="expected"):
            get_optimizer_class(*wrong)


def test_an_optimizer_by_hand_does_not_pretend_to_know_the_other_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ddpoptimizer, "current_world", lambda: World(0, 2))
    net = GradSampleModule(nn.Linear(6, 2))
    with pytest.raises(PrivacyError, match="got 2 processes and no private loader; expected make_private"):
        DistributedDPOptimizer(
            torch.optim.SGD(net.parameters(), lr=0.1),
            noise_multiplier=1.0,
            max_grad_norm=1.0,
            expected_batch_size=4,
        )


def test_loaders_take_another_generator() -> None:
    data = TensorDataset(torch.arange(20))

    def order(loader: DataLoader) -> list[int]:
        return [int(i) for (batch,) in loader for i in batch]

    def shuffled(seed: int) -> list[int]:
        loader = switch_generator(
            data_loader=DataLoader(data, batch_size=4, shuffle=True),
            generator=torch.Generator().manual_seed(seed),
        )
        return order(loader)

    assert shuffled(1) == shuffled(1) != shuffled(2)
    assert sorted(shuffled(1)) == list(range(20))
    fixed = DataLoader(data, batch_sampler=BatchSampler(SequentialSampler(data), 4, False))
    with pytest.raises(SettingError, match="SequentialSampler, which has no generator"):
        switch_generator(data_loader=fixed, generator=torch.Generator())
    net = nn.Linear(1, 1)
    _, _, private = PrivacyEngine().make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        data_loader=DataLoader(data, batch_size=4),
    )
    with pytest.raises(SettingError, match="PoissonLoader, whose draws are keyed"):
        switch_generator(data_loader=private, generator=torch.Generator())


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_learnt_last_position_has_gradients_of_single_examples(batch_first: bool) -> None:
    layer = SequenceBias(5, batch_first)
    x = torch.randn(3, 4, 5)
    out = layer(x)
    assert out.shape == ((3, 5, 5) if batch_first else (4, 4, 5))
    last = out[:, -1] if batch_first else out[-1]
    assert torch.equal(last, layer.bias.expand_as(last))
    assert check_per_sample_gradients_are_correct(x, layer, batch_first=batch_first)


class Scaled(nn.Module):
    """A layer without a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.by


@pytest.mark.filterwarnings("ignore:.*has no rule for per-example gradients:UserWarning")
def test_gradients_of_single_examples_are_compared_with_those_of_each_alone(registry: None) -> None:
    x = torch.randn(4, 3)
    assert check_per_sample_gradients_are_correct(x, nn.Sequential(nn.Linear(3, 3), nn.Tanh(), Scaled()))
    assert check_per_sample_gradients_are_correct([torch.arange(6).view(2, 3)], nn.Embedding(6, 2))
    register_grad_sampler(Scaled)(lambda layer, a, g: {layer.by: 2 * a[0] * g})
    assert not check_per_sample_gradients_are_correct(x, Scaled())
    with pytest.raises(SettingError, match="not sharded"):
        check_per_sample_gradients_are_correct(x, Scaled(), grad_sample_mode="ghost_fsdp")


def test_validators_and_fixers_of_further_layers_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModuleValidator, "VALIDATORS", {})
    monkeypatch.setattr(ModuleValidator, "FIXERS", {})

    @register_module_validator([nn.Dropout, nn.BatchNorm1d])
    def never(layer: nn.Module) -> list:
        return [IllegalModuleConfigurationError("no dropout")] if isinstance(layer, nn.Dropout) else []

    @register_module_fixer(nn.Dropout)
    def gone(_layer: nn.Module, **_settings: object) -> nn.Module:
        return nn.Identity()

    net = nn.Sequential(nn.Linear(3, 3), nn.Dropout(), nn.Linear(3, 2))
    assert [str(error) for error in ModuleValidator.validate(net)] == ["no dropout"]
    fixed = ModuleValidator.fix_and_validate(net)
    assert [type(layer) for layer in fixed] == [nn.Linear, nn.Identity, nn.Linear]
    assert isinstance(ModuleValidator.fix(nn.Dropout()), nn.Identity)
    with pytest.raises(ValueError, match="BatchNorm1d"):
        ModuleValidator.validate(nn.Sequential(nn.BatchNorm1d(3)), strict=True)
    assert ModuleValidator.VALIDATORS.keys() == {nn.Dropout, nn.BatchNorm1d}
    assert (never(nn.Linear(1, 1)), type(gone(net[1]))) == ([], nn.Identity)
