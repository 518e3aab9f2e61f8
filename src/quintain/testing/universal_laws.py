"""The laws of universal attacks: repeatable, allowed, and never scored on what they were fitted on."""

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from quintain.attacks import Perturbation, UniversalAttack, held_out, success_rate
from quintain.core.errors import DataError, SettingError
from quintain.core.registry import entries
from quintain.data import from_arrays
from quintain.data.dataset import Dataset
from quintain.testing.attack_cases import example_threat, law_threat
from quintain.testing.checking import Law, require, require_equal, run_laws
from quintain.testing.fake_accelerator import fake_device, on_device
from quintain.testing.models import random_inputs
from quintain.threats import contains

SIDE = 16
"""Height and width of the images, of three colors, that universal attacks are fitted on."""


def check_universal_attack(attack: UniversalAttack) -> None:
    """Check all laws of attacks that fit one perturbation for many images on one, in each threat it supports.

    Args:
        attack: An attack, such as ``MySticker()``; it runs in its ``test_settings``, and is not held to its
            ``exemptions``.

    Raises:
        AssertionError: If it breaks any; the message names each, with what was seen.
    """
    tested: Any = replace(attack, **attack.test_settings)  # type: ignore[type-var]
    laws: list[Law] = []
    for kind in attack.supports or ("",):
        laws += [
            (
                f"the same seed fits the same {kind}".rstrip(),
                partial(check_same_seed_fits_same, tested, kind),
            ),
            (f"applied it is allowed {kind}".rstrip(), partial(check_applied_allowed, tested, kind)),
            (f"held out in scoring {kind}".rstrip(), partial(check_held_out, tested, kind)),
            (f"an accelerator gives the same {kind}".rstrip(), partial(check_universal_device, tested, kind)),
        ]
    if attack.supports:
        laws.append(("other threats are refused", partial(check_other_threats_refused, tested)))
    run_laws(f"the universal attack {attack.name}", laws, attack.exemptions)


def law_images(count: int, seed: int) -> Dataset:
    """Return random images (3, 16, 16) of three classes in turn."""
    labels = torch.arange(count).remainder(3).numpy()
    return from_arrays(random_inputs(count, 3, SIDE, SIDE, seed=seed).numpy(), labels, name=f"noise {seed}")


def law_net() -> nn.Module:
    """Return a linear net for ``law_images``."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 3)).eval()


def fit_universal(attack: Any, kind: str, net: nn.Module, *, seed: int = 0) -> Perturbation:
    """Return what an attack fits on twelve images, in the law's threat of a kind where it takes one.

    Args:
        attack: A universal attack.
        kind: A kind of threat that it supports; empty if it takes none.
        net: The model.
        seed: Of the fit.
    """
    threat = [law_threat(kind)] if kind else []
    found: Perturbation = attack.fit(net, law_images(12, seed=3), *threat, seed=seed)
    return found


def check_same_seed_fits_same(attack: UniversalAttack, kind: str) -> None:
    """The same seed fits the same, bit for bit, and leaves the model as it was.

    Args:
        attack: The attack.
        kind: A kind of threat that it supports; empty if it takes none.

    Raises:
        AssertionError: If not.
    """
    net = law_net()
    before = copy.deepcopy(net.state_dict())
    once, again = (_tensors(fit_universal(attack, kind, net)) for _ in range(2))
    require(bool(once), "a perturbation that holds tensors in its slots", "none")
    for name, value in once.items():
        require_equal(again[name], value, f"the same {name} from the same seed")
    for name, value in net.state_dict().items():
        require_equal(value, before[name], f"the same {name} of the model as before")
    require(all(weight.grad is None for weight in net.parameters()), "no gradients on the weights")


def check_applied_allowed(attack: UniversalAttack, kind: str) -> None:
    """Applied to images it is allowed and changes them, and each view depends on its own example alone.

    Args:
        attack: The attack.
        kind: A kind of threat that it supports; empty if it takes none.

    Raises:
        AssertionError: If not.
    """
    found = fit_universal(attack, kind, law_net())
    x, _ = law_images(8, seed=4).batch(range(8))
    ids = torch.arange(8) + 5
    for name, one in (("perturbation", found), ("random control", found.random_control(seed=2))):
        z = one.apply(x, ids, seed=7)
        require(z.shape == x.shape, f"the {name} to give images {tuple(x.shape)}", f"{tuple(z.shape)}")
        require(((z >= 0) & (z <= 1)).flatten(1).all(1), f"the {name} to stay in the box")
        require(not torch.equal(z, x), f"the {name} to change the images", "the images")
        if kind:
            require(contains(law_threat(kind), z, x), f"the {name} within {law_threat(kind).spec}")
        part = one.apply(x[2:5], ids[2:5], seed=7)
        alike = ((part - z[2:5]).abs() <= 1e-5).flatten(1).all(1)
        require(alike, f"the {name} on an image to depend on no other image")


def check_held_out(attack: UniversalAttack, kind: str) -> None:
    """A perturbation is not scored on what it was fitted on, and is on other images.

    Args:
        attack: The attack.
        kind: A kind of threat that it supports; empty if it takes none.

    Raises:
        AssertionError: If not.
    """
    net = law_net()
    found, seen = fit_universal(attack, kind, net), law_images(12, seed=3)
    for refused, message in (
        (partial(success_rate, net, seen, found), "was fitted on 12 of the images"),
        (partial(held_out, seen, found), "was fitted on all 12 images"),
    ):
        try:
            refused()
        except DataError as error:
            require(message in str(error), f"a message that it {message}", str(error))
        else:
            require(False, "images that it was fitted on to raise DataError", "a result")
    scored = success_rate(net, law_images(30, seed=5), found).examples
    require(scored == 30, "a success rate on 30 other images", f"{scored}")


def check_universal_device(attack: UniversalAttack, kind: str) -> None:
    """For a model on an accelerator it fits the same, which perturbs there as well and succeeds as often.

    Args:
        attack: The attack.
        kind: A kind of threat that it supports; empty if it takes none.

    Raises:
        AssertionError: If it mixes tensors of two devices, or anything differs.
    """
    net, images = law_net(), law_images(30, seed=5)
    wanted = fit_universal(attack, kind, net)
    x, ids = law_images(8, seed=4).batch(range(8))[0], torch.arange(8)
    worn, rate = wanted.apply(x, ids, seed=7), success_rate(net, images, wanted)
    with fake_device() as device:
        moved = copy.deepcopy(net).to(device)
        found = on_device(fit_universal, attack, kind, moved)
        for name, value in _tensors(wanted).items():
            require_equal(_tensors(found)[name].cpu(), value, f"the same {name} for an accelerator")
        there = on_device(found.apply, x.to(device), ids, seed=7)
        require(there.device == device, "perturbed images on the device of the images", f"{there.device}")
        require_equal(there.cpu(), worn, "the same perturbed images on an accelerator")
        on_device(found.random_control(seed=2).apply, x.to(device), ids, seed=7)
        counted = on_device(success_rate, moved, images, found)
    require(counted == rate, f"the success rate {rate} for a model on an accelerator", f"{counted}")


def check_other_threats_refused(attack: UniversalAttack) -> None:
    """Every registered threat that an attack does not support is refused by name.

    Args:
        attack: An attack that takes a threat.

    Raises:
        AssertionError: If one is not.
    """
    fit: Any = attack
    for kind in sorted(set(entries("threat")) - set(attack.supports)):
        try:
            fit.fit(law_net(), law_images(12, seed=3), example_threat(kind))
        except SettingError as error:
            require(
                f"{attack.name} does not support the threat" in str(error), "a refusal by name", str(error)
            )
        else:
            require(False, f"{kind}, which it does not support, to be refused with SettingError", "a fit")


def _tensors(perturbation: Perturbation) -> dict[str, Tensor]:
    """Every tensor of a fitted perturbation, by its slot."""
    slots = {slot: getattr(perturbation, slot) for slot in vars(type(perturbation))["__slots__"]}
    return {slot: value for slot, value in slots.items() if isinstance(value, Tensor)}
