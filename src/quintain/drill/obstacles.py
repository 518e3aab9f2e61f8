"""What keeps steps from being done on some models and data, each with its remedy."""

import copy
from functools import cache

import numpy as np
import torch

from quintain.certify import TracedNetwork, worst_case_logits
from quintain.core.errors import QuintainError
from quintain.core.registry import get_entry
from quintain.core.threat_specs import threat_name
from quintain.drill.context import DrillContext
from quintain.drill.step import Obstacle, refusals_are_obstacles
from quintain.drill.subject import Subject
from quintain.models.classifier import Classifier
from quintain.models.devices import device_of
from quintain.threats import parse
from quintain.threats.threat import Threat

MIN_TRAIN = 100
"""Fewer training examples teach a net nothing that would be worth its figures."""

MAX_RELATIVE_WIDTH = 1e5
"""Interval bounds that are so many times as wide as the logits of an untrained net differ say nothing, and
training does not narrow them in the time that a drill has. On the net for the X-rays they are 18 times as
wide, on a 7-layer convolutional net a million times, on a ResNet-18 more than 10^15.
"""

PROBED = 4
"""Examples on which the width of the bounds is measured, or what training changes."""

FIX_NORM = (
    "return quintain.dp.ModuleValidator.fix(net) from the factory, which puts GroupNorm in the place of "
    "BatchNorm"
)
"""The remedy for running statistics."""


@refusals_are_obstacles
def needs_training(context: DrillContext) -> Obstacle | None:
    """Return why no net can be trained here, if none can."""
    subject = context.subject
    if subject.is_black_box:
        return Obstacle(
            f"{context.settings.model} is a black box, whose weights cannot be trained or read",
            "give the net itself: --model path/to/file.py:factory --weights FILE.safetensors",
        )
    if subject.train_size < MIN_TRAIN:
        found = f"{subject.train_size} training examples" if subject.train_size else "no train split"
        return Obstacle(
            f"{subject.splits.name} has {found}; at least {MIN_TRAIN} are needed",
            "add train_images and train_labels to the .npz, or a folder train",
        )
    return needs_float32(context)


def needs_float32(context: DrillContext) -> Obstacle | None:
    """Return why weights can neither be trained nor sent as updates, if they are not of float32."""
    for name, parameter in context.net("float32").named_parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            return Obstacle(
                f"{context.settings.model} has {name!r} in {parameter.dtype}; expected float32 to train in",
                "return net.float() from the factory, and drill into a new folder",
            )
    return None


@refusals_are_obstacles
def needs_averaging(context: DrillContext) -> Obstacle | None:
    """Return why what sites train cannot be averaged, if it cannot: seen in one forward pass in training."""
    found = needs_training(context)
    if found is not None:
        return found
    net = copy.deepcopy(context.net("federated")).train()
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    x, _ = context.train.batch(np.arange(min(PROBED, len(context.train))))
    with torch.no_grad():
        net(x.to(device_of(net)))
    changed = [name for name, buffer in net.named_buffers() if not torch.equal(buffer, before[name])]
    if not changed:
        return None
    more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
    return Obstacle(
        f"training changes the buffer {changed[0]!r}{more}: running statistics of sites do not average",
        FIX_NORM,
    )


@refusals_are_obstacles
def needs_private_training(context: DrillContext) -> Obstacle | None:
    """Return why the net cannot be trained privately, if it cannot."""
    found = needs_training(context)
    if found is not None:
        return found
    if context.subject.factory_has_learned:
        return Obstacle(
            f"{context.settings.model} gives trained weights, which may rest on the records to be protected: "
            "private training starts from weights that do not depend on them",
            "let the factory return an untrained net, and give the trained weights with --weights",
        )
    from quintain.dp import ModuleValidator

    errors = ModuleValidator.validate(copy.deepcopy(context.net("private")).train())
    if not errors:
        return None
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    remedy = (
        FIX_NORM
        if any("Norm" in str(error) for error in errors)
        else "replace the layer, or give it a rule with quintain.dp.register_rule"
    )
    return Obstacle(f"{errors[0]}{more}", remedy)


@refusals_are_obstacles
def needs_intervals(context: DrillContext) -> Obstacle | None:
    """Return why interval bounds of the net would certify nothing, if they would not."""
    if context.subject.is_black_box:
        return Obstacle(
            f"{context.settings.model} is a black box, and bounds are computed from weights",
            "give the net itself: --model path/to/file.py:factory --weights FILE.safetensors",
        )
    kind, supported = threat_name(context.threat.spec), get_entry("certifier", "interval").words("supports")
    if kind not in supported:
        return Obstacle(
            f"interval bounds handle {' and '.join(supported)}, and the threat is {context.threat.spec}",
            f"give --threat {get_entry('certifier', 'interval').fact('example')} for them",
        )
    try:
        width = _relative_width(context.subject, context.threats[0].spec)
    except QuintainError as error:
        return Obstacle(str(error), "use layers that interval bounds handle, such as those of xray-cnn")
    if width <= MAX_RELATIVE_WIDTH:
        return None
    return Obstacle(
        f"interval bounds at {context.threats[0].spec} are {width:.0e} times as wide as the net's logits "
        "differ, so that they would certify nothing",
        "take a net of fewer layers, or rely on the certificate by smoothing, which takes any net",
    )


@cache
def _relative_width(subject: Subject, spec: str) -> float:
    """Return how far the worst-case logits of an untrained net lie above its logits' own differences."""
    net, threat = subject.fresh(subject.settings.seed).eval(), parse(spec)
    assert isinstance(threat, Threat)
    x = subject.test.batch(np.arange(min(PROBED, len(subject.test))))[0].to(device_of(net))
    with torch.no_grad():
        logits = Classifier(net)(x)
        y = logits.argmax(1)
        worst = worst_case_logits(TracedNetwork.trace(net), x, y, threat).amax(1)
        differences = logits.amax(1) - logits.amin(1)
    return float(worst.mean() / differences.mean().clamp_min(torch.finfo(logits.dtype).tiny))
