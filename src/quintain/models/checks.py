"""Checks of a model before anything is measured on it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from quintain.core.errors import ModelError, QuintainError
from quintain.models.blackbox import BlackBox
from quintain.models.classifier import Classifier
from quintain.models.protocol import ClassifierLike
from quintain.results.robustness_records import Finding

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SCALE_ADVANTAGE = 0.1  # by how much more accuracy another input scale must give before it is mentioned
BATCH_TOLERANCE = 1e-3  # relative difference of logits that rounding does not explain


class LabeledData(Protocol):
    """The part of a data set's interface that the checks need."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Labels, (N,)."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""

    def batch(self, ids: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return samples in [0, 1] and labels."""


@dataclass(frozen=True, slots=True)
class ProbeBatch:
    """A batch of examples, and a model's logits on it."""

    model: ClassifierLike
    x: Tensor
    y: Tensor
    logits: Tensor


def check_model(
    model: ClassifierLike, data: LabeledData, *, sample: int = 64, trained: bool = True
) -> list[Finding]:
    """Check mode, weights, output, determinism, batch independence, gradients, and the scale of the inputs.

    A model that cannot be called is an error among the findings, and is not raised. The model is not changed.

    Args:
        model: The model.
        data: Labeled samples for it.
        sample: How many of them are used, evenly spaced.
        trained: Whether the model is; the accuracy of one that is not says nothing of its inputs' scale.

    Returns:
        Findings in a fixed order, the good ones included; level ``error`` where results would mean nothing,
        ``warning`` where they may mislead.
    """
    findings = [_mode(model), _weights(model)] if isinstance(model, Classifier) else [_black_box_note(model)]
    try:
        x, y = data.batch(np.unique(np.linspace(0, len(data.labels) - 1, sample).round().astype(np.int64)))
        with torch.no_grad():
            case = ProbeBatch(model, x, y, model(x))
    except QuintainError as error:
        return [*findings, Finding("output", "error", str(error))]
    findings.append(_output(case, data.num_classes))
    if findings[-1].level == "error":
        return findings
    if isinstance(model, BlackBox) and model.cached:
        findings.append(
            Finding("determinism", "note", "answers come from a cache: whether they vary cannot be seen")
        )
    else:
        findings += [_determinism(case), _batch_independence(case)]
    if model.access == "gradients":
        findings += _gradient(case)
    if not trained:
        findings.append(Finding("inputs", "ok", "the scale is not looked at before the model is trained"))
    elif model.num_classes >= data.num_classes:
        findings.append(_input_scale(case, data))
    return findings


def _black_box_note(model: ClassifierLike) -> Finding:
    return Finding(
        "weights", "note", f"a black box that gives {model.access}: no weights, no gradients, no certificates"
    )


def _mode(model: Classifier) -> Finding:
    training = sum(module.training for module in model.net.modules())
    if training and model.allow_train_mode:
        return Finding(
            "mode",
            "warning",
            f"{training} modules are in training mode, as allowed: a random or batch-dependent model",
        )
    if training:
        return Finding("mode", "error", f"{training} modules are in training mode; call net.eval() first")
    return Finding("mode", "ok", "in evaluation mode")


def _weights(model: Classifier) -> Finding:
    named = [*model.net.named_parameters(), *model.net.named_buffers()]
    broken = [name for name, tensor in named if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        return Finding(
            "weights",
            "error",
            f"NaN or infinite weights in {', '.join(broken[:5])}; train or load the model again",
        )
    kinds = {str(parameter.dtype).removeprefix("torch.") for parameter in model.net.parameters()}
    count = sum(parameter.numel() for parameter in model.net.parameters())
    if kinds & {"float16", "bfloat16"}:
        return Finding(
            "weights",
            "note",
            f"{count:,} parameters in {', '.join(sorted(kinds))}: rounding may hide small gradients; "
            "net.float() is safer",
        )
    return Finding(
        "weights", "ok", f"{count:,} finite parameters" + (f" in {', '.join(sorted(kinds))}" if kinds else "")
    )


def _output(case: ProbeBatch, num_classes: int) -> Finding:
    spoiled = int((~case.logits.isfinite()).any(1).sum())
    if spoiled:
        return Finding(
            "output",
            "error",
            f"NaN or infinite logits for {spoiled} of {len(case.x)} samples; expected finite numbers",
        )
    if case.logits.shape[1] < num_classes:
        return Finding(
            "output",
            "error",
            f"{case.logits.shape[1]} logits a sample, but the data have {num_classes} classes; expected one "
            "a class",
        )
    if case.model.access != "gradients":
        return _black_box_output(case, num_classes)
    if case.logits.shape[1] == 2 and not case.logits[:, 0].any():
        score = case.logits[:, 1]
        if ((score >= 0) & (score <= 1)).all():
            text = "one output, always in [0, 1]: a probability? Return the logit, without the sigmoid"
            return Finding("output", "warning", text)
    if (case.logits >= 0).all() and torch.allclose(case.logits.sum(1), case.logits.new_ones(()), atol=1e-4):
        text = (
            "outputs are probabilities, which saturate and hide gradients; return logits, without the softmax"
        )
        return Finding("output", "warning", text)
    if case.logits.shape[1] > num_classes:
        return Finding(
            "output",
            "note",
            f"{case.logits.shape[1]} logits a sample, and the data have {num_classes} classes: the others "
            "are never right",
        )
    return Finding("output", "ok", f"{num_classes} finite logits a sample")


def _black_box_output(case: ProbeBatch, num_classes: int) -> Finding:
    """Say what a black box gives; probabilities hide no gradients where there are none."""
    given = case.logits.shape[1]
    text = f"one of {given} labels" if case.model.access == "labels" else f"{given} finite scores"
    if given > num_classes:
        others = "the others are never right"
        return Finding(
            "output", "note", f"{text} a sample, and the data have {num_classes} classes: {others}"
        )
    return Finding("output", "ok", f"{text} a sample")


def _determinism(case: ProbeBatch) -> Finding:
    with torch.no_grad():
        again = case.model(case.x)
    if torch.equal(again, case.logits):
        return Finding("determinism", "ok", "the same batch twice gives the same logits")
    gap = float((again - case.logits).abs().max())
    return Finding(
        "determinism",
        "warning",
        f"the same batch twice gives logits that differ by {gap:.2g}: attacks and proofs need averaging over "
        "draws",
    )


def _batch_independence(case: ProbeBatch) -> Finding:
    with torch.no_grad():
        try:
            one_by_one = torch.cat([case.model(one[None]) for one in case.x[:8]])
        except QuintainError as error:
            return Finding("batches", "error", f"a batch of one fails: {error}")
    gap = float((one_by_one - case.logits[:8]).abs().max())
    if gap > BATCH_TOLERANCE * max(1.0, float(case.logits.abs().max())):
        text = (
            f"a sample's logits move by {gap:.2g} with the rest of its batch; expected none: batch "
            "statistics in use?"
        )
        return Finding("batches", "error", text)
    return Finding(
        "batches", "ok", f"a sample's logits do not depend on its batch (largest difference {gap:.1g})"
    )


def _gradient(case: ProbeBatch) -> Iterator[Finding]:
    z = case.x.clone().requires_grad_(True)
    with torch.enable_grad():
        logits = case.model(z)
        first, second = logits.topk(2, dim=1).values.unbind(1)
        gap = (first - second).sum()
        gradient = torch.autograd.grad(gap, z, allow_unused=True)[0] if gap.requires_grad else None
    if gradient is None:
        yield Finding(
            "gradient",
            "warning",
            "no gradient reaches the input: gradient attacks will find nothing, which proves nothing",
        )
        return
    if not gradient.isfinite().all():
        yield Finding("gradient", "warning", "the input gradient has NaN or infinite entries")
        return
    zero = int((gradient.flatten(1).abs().amax(1) == 0).sum())
    if zero:
        yield Finding(
            "gradient",
            "warning",
            f"the input gradient is exactly zero for {zero} of {len(z)} samples: masked gradients flatter",
        )
    else:
        yield Finding("gradient", "ok", "the input gradient is finite, and zero for no sample")


def _input_scale(case: ProbeBatch, data: LabeledData) -> Finding:
    """Guess whether normalization is inside the model, by its accuracy on several input scales."""
    right = _accuracy(case, lambda x: x)
    constant = float(np.bincount(data.labels).max()) / len(data.labels)
    text = (
        f"right on {right:.0%} of {len(case.x)} samples in [0, 1]; the best constant answer on {constant:.0%}"
    )
    others, refused = dict[str, float](), list[str]()
    for name, scale in _scales(case.x).items():
        # a net may rightly refuse what lies outside [0, 1]
        try:
            others[name] = _accuracy(case, scale)
        except ModelError:
            refused.append(name)
    if refused:
        text += f"; not measured on {', '.join(refused)}, since the model fails there"
    best = max(others, key=lambda name: others[name], default="")
    if best and others[best] > max(right, constant) + SCALE_ADVANTAGE:
        return Finding(
            "inputs",
            "warning",
            f"{text}; on {best}, {others[best]:.0%}: put that scaling inside the model "
            "(quintain.models.Normalize)",
        )
    if right <= constant:
        return Finding(
            "inputs", "note", f"{text}: no better than a constant; not trained, or trained on another scale?"
        )
    return Finding("inputs", "ok", text)


def _scales(x: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    mean = x.transpose(0, 1).flatten(1).mean(1).view(1, -1, *[1] * (x.ndim - 2))
    std = x.transpose(0, 1).flatten(1).std(1).clamp(min=1e-6).view(mean.shape)
    scales: dict[str, Callable[[Tensor], Tensor]] = {
        "inputs in [-1, 1]": lambda x: 2 * x - 1,
        "inputs in 0 .. 255": lambda x: 255 * x,
        "standardized inputs": lambda x: (x - mean) / std,
    }
    if x.shape[1] == 3 and x.ndim == 4:
        center, spread = (torch.tensor(values).view(1, 3, 1, 1) for values in IMAGENET)
        scales["inputs with ImageNet's mean and deviation"] = lambda x: (x - center) / spread
    return scales


def _accuracy(case: ProbeBatch, scale: Callable[[Tensor], Tensor]) -> float:
    return float((case.model.predict(scale(case.x)) == case.y).float().mean())
