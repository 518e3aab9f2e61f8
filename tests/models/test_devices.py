"""A device is chosen by its name, and refused with those that there are."""

import pytest
import torch

from quintain.core.errors import SettingError
from quintain.models.devices import available_devices, choose_device, describe_device, search_device


@pytest.fixture
def machine(monkeypatch):
    """Make this machine have so many accelerators of a kind."""

    def has(kind, count):
        found = None if kind is None else torch.device(kind)
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: found is not None)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: found)
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)

    monkeypatch.delenv("LOCAL_RANK", raising=False)
    return has


@pytest.mark.parametrize(
    ("kind", "count", "name", "chosen"),
    [
        (None, 0, "auto", "cpu"),
        (None, 0, "cpu", "cpu"),
        ("cuda", 2, "cpu", "cpu"),
        ("cuda", 2, "auto", "cuda:0"),
        ("cuda", 2, "cuda", "cuda:0"),
        ("cuda", 2, "cuda:1", "cuda:1"),
        ("xpu", 1, "auto", "xpu:0"),
        ("mps", 1, "auto", "mps:0"),
        ("mps", 1, "mps", "mps:0"),
    ],
)
def test_a_name_stands_for_a_device_with_its_number(machine, kind, count, name, chosen):
    machine(kind, count)
    assert choose_device(name) == torch.device(chosen)


@pytest.mark.parametrize(
    ("kind", "count", "name"),
    [
        (None, 0, "cuda"),
        (None, 0, "mps"),
        ("mps", 1, "cuda"),
        ("cuda", 2, "cuda:2"),
        ("cuda", 2, "gpu"),
        ("cuda", 2, ""),
        ("cuda", 2, "cuda:-1"),
    ],
)
def test_a_device_that_is_absent_is_refused_with_those_that_there_are(machine, kind, count, name):
    machine(kind, count)
    with pytest.raises(SettingError) as refused:
        choose_device(name)
    assert repr(name) in str(refused.value)
    assert available_devices() in str(refused.value)


def test_available_devices_are_named_with_their_numbers(machine):
    machine(None, 0)
    assert available_devices() == "auto or cpu"
    machine("cuda", 2)
    assert available_devices() == "auto, cpu, cuda:0 or cuda:1"


@pytest.mark.parametrize(("name", "rank", "chosen"), [("auto", 1, 1), ("cuda", 3, 1), ("cuda:0", 1, 0)])
def test_each_process_of_torchrun_takes_its_own_device(machine, monkeypatch, name, rank, chosen):
    machine("cuda", 2)
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    assert choose_device(name) == torch.device("cuda", chosen)


def test_work_in_float64_is_never_put_where_there_is_none(machine):
    machine("mps", 1)
    assert choose_device("auto", needs_float64=True) == torch.device("cpu")
    with pytest.raises(SettingError, match="no float64"):
        choose_device("mps", needs_float64=True)
    assert search_device(torch.device("mps", 0)) == torch.device("cpu")
    assert search_device(torch.device("cuda", 1)) == torch.device("cuda", 1)


def test_a_device_is_described_with_its_makers_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"model {device.index}")
    assert describe_device(torch.device("cuda", 1)) == "cuda:1 (model 1)"
    assert describe_device(torch.device("mps", 0)) == "mps:0"
    assert describe_device(torch.device("cpu")) == "cpu"
