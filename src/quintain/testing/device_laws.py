"""The laws of devices: results on an accelerator equal those on the CPU, and stay on the accelerator."""

import copy

import torch
from torch import Tensor, nn

from quintain.attacks.base import Attack
from quintain.models import Classifier
from quintain.testing.checking import require, require_equal
from quintain.testing.fake_accelerator import FAKE_DEVICE, fake_device, on_device
from quintain.testing.models import random_inputs
from quintain.testing.outcome_laws import OUTCOME_FIELDS
from quintain.threats import Threat


def device_task(count: int = 8, *, channels: int = 1, side: int = 4) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a net of three classes on the CPU, inputs (count, channels, side, side), and its predictions.

    Args:
        count: Number of examples.
        channels, side: Channels and side length of the images.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(6)
        net = nn.Sequential(
            nn.Conv2d(channels, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(4 * side * side, 3)
        )
    net = net.double().eval().requires_grad_(True)
    x = random_inputs(count, channels, side, side, seed=3)
    with torch.no_grad():
        return net, x, net(x).argmax(1)


def check_attack_device(attack: Attack, threat: Threat) -> None:
    """Check that the outcome of an attack on an accelerator is on it, and equals that on the CPU bit for bit.

    It must also be equal if the model is on the accelerator and the inputs are on the CPU: ``Classifier``
    moves them for each call.

    Args:
        attack: The attack.
        threat: A threat that it supports.

    Raises:
        AssertionError: If it mixes tensors of two devices, or an outcome differs.
    """
    net, x, y = device_task()
    on_cpu = attack(net, x, y, threat, seed=4)
    with fake_device() as device:
        moved = copy.deepcopy(net).to(device)
        on_accelerator = on_device(attack, moved, x.to(device), y.to(device), threat, seed=4)
        from_cpu_inputs = on_device(attack, Classifier(moved), x, y, threat, seed=4)
        for name in OUTCOME_FIELDS:
            value = getattr(on_accelerator, name)
            require(value.device == FAKE_DEVICE, f"{name} on the device of the inputs", f"{value.device}")
            require_equal(value.cpu(), getattr(on_cpu, name), f"the same {name} on an accelerator")
            require_equal(
                getattr(from_cpu_inputs, name),
                getattr(on_cpu, name),
                f"the same {name} from inputs on the CPU",
            )
    require(on_accelerator.found_by == on_cpu.found_by, "the same found_by on an accelerator")
