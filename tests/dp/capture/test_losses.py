"""Losses in which examples share a mean, a scale, a selection or a row: refused, or said not to be checked,
never called fine.
"""

import copy
import math
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quintain.dp.capture.module_reruns import NO_DEPENDENCE
from tests.dp.support.loops import full, refused

WEIGHTS = torch.tensor([1.0, 3.0])


def each(out: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(out, y, reduction="none")


def positives(y: Tensor) -> Tensor:
    return (y == 0).sum() / (y == 1).sum()


def mixed(out: Tensor, y: Tensor) -> Tensor:
    return 0.3 * F.cross_entropy(out, y) + 0.7 * F.cross_entropy(out, y.roll(1))


def ignored(out: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(out, y, ignore_index=1)


@torch.no_grad()
def sure(out: Tensor) -> Tensor:
    return (out[:, 0] > out[:, 0].mean()).float() + 0.25


def words(y: Tensor) -> Tensor:
    """One or two that count in each example."""
    return torch.stack([torch.ones_like(y), y], 1)


def own_mean(losses: Tensor, kept: Tensor) -> Tensor:
    return (losses * kept).sum(-1) / kept.sum(-1).clamp(min=0.5)


LOSSES = {
    "batch-wise pos_weight": (
        lambda out, y: F.binary_cross_entropy_with_logits(out[:, 0], y.float(), pos_weight=positives(y)),
        "pos_weight",
    ),
    "batch-wise class weights": (
        lambda out, y: F.cross_entropy(
            out, y, torch.bincount(y, minlength=2) / len(y), reduction="none"
        ).mean(),
        "weight=",
    ),
    "hard examples": (lambda out, y: each(out, y).topk(len(y) // 2).values.mean(), "selects among.*topk"),
    "hard examples, sorted": (
        lambda out, y: each(out, y).sort(descending=True)[0][:5].mean(),
        "selects among.*sort",
    ),
    "the worst example": (lambda out, y: each(out, y).max(), "selects among.*max"),
    "the worst example of a column, by keyword": (
        lambda out, y: out.unbind(dim=1)[0].max() + 0 * each(out, y).sum(),
        "selects among.*max",
    ),
    "the worst example of a selected column, by keyword": (
        lambda out, y: out.select(dim=-1, index=0).max() + 0 * each(out, y).sum(),
        "selects among.*max",
    ),
    "own masked mean": (
        lambda out, y: (each(out, y) * (y == 1)).sum() / (y == 1).sum(),
        "multiplies or divides",
    ),
    "own masked mean, a method": (
        lambda out, y: (each(out, y) * (y == 1)).sum().div((y == 1).sum() + 1),
        "multiplies or divides",
    ),
    "a mean over masked rows": (
        lambda out, y: F.cross_entropy(out[y == 1], y[y == 1]),
        "some of a batch's rows",
    ),
    "a mean over a mask": (lambda out, y: each(out, y)[y == 1].mean(), "some of a batch's rows"),
    "a mean over an index": (
        lambda out, y: each(out, y)[torch.nonzero(y)[:, 0]].mean(),
        "some of a batch's rows",
    ),
    "a mean over what is selected": (
        lambda out, y: each(out, y).masked_select(y == 1).mean(),
        "some of a batch's rows",
    ),
    "a mean without NaN": (
        lambda out, y: torch.where(y == 1, each(out, y), math.nan).nanmean(),
        "some of a batch's rows",
    ),
    "own masked mean, in place": (
        lambda out, y: (each(out, y) * (y == 1)).sum().clone().div_((y == 1).sum() + 1),
        "multiplies or divides",
    ),
    "own masked means, by a vector": (
        lambda out, y: (
            torch.stack([(each(out, y) * (y == 1)).sum()] * 2)
            * torch.stack([(y == 1).sum() + 1, y.sum() + 2])
        ).sum(),
        "multiplies or divides",
    ),
    "a count of sure outputs": (
        lambda out, y: (each(out, y) * sure(out)).sum() / sure(out).sum(),
        "multiplies or divides",
    ),
    "mixup": (mixed, "two orders"),
    "labels ignored": (ignored, "how many labels count"),
}


BENT = {
    "flooding": lambda loss: (loss - 0.6).abs() + 0.6,
    "a ceiling": lambda loss: loss.clamp(max=1e3),
    "a floor": lambda loss: F.relu(loss - 0.01),
    "the smaller of two": lambda loss: torch.minimum(loss, torch.tensor(1e3)),
    "the larger of two": lambda loss: torch.max(torch.stack([loss, 0 * loss])),
    "one or nothing": lambda loss: torch.where(loss > 0, loss, 0 * loss),
    "a Huber loss of it": lambda loss: F.smooth_l1_loss(loss, torch.tensor(0.0)),
    "without NaN": torch.nan_to_num,
    "its square": lambda loss: loss * loss,
    "over itself": lambda loss: loss / (loss + 1),
    "its inverse": lambda loss: 1 / loss,
}


@pytest.mark.parametrize("own", [False, True], ids=["in the loop", "in the model"])
@pytest.mark.parametrize("name", BENT)
def test_a_mean_over_the_batch_may_only_be_added_up_and_scaled(private, name: str, own: bool) -> None:
    net, _, loader, engine = private(OwnLoss(F.cross_entropy) if own else None, batch=20)
    x, y = next(iter(loader))
    with refused("the loss mixes the examples of a batch"):
        BENT[name](net(x, labels=y)["loss"] if own else F.cross_entropy(net(x), y)).backward()
    assert engine.ledger.steps == 0


def test_a_branch_on_the_loss_of_a_batch_is_reported(private) -> None:
    net, optimizer, loader, engine = private(batch=20)
    x, y = next(iter(loader))
    loss = F.cross_entropy(net(x), y)
    (loss * 0.5 if loss > 1e3 else loss).backward()
    optimizer.step()
    assert any("goes another way" in remark for remark in engine.report.runs[0].mixing_probe.remarks)


def test_a_sum_of_one_call_an_example_is_a_sum(private) -> None:
    net, optimizer, loader, _ = private(batch=10)
    with refused("the loss is a sum over the batch"):
        for x, y in loader:
            optimizer.zero_grad()
            out = net(x)
            (sum(F.cross_entropy(out[i : i + 1], y[i : i + 1]) for i in range(len(y))) / 10).backward()
            optimizer.step()


UNNAMED = {
    "a product with ones": lambda losses: losses @ torch.ones(len(losses)) / 10,
    "einsum": lambda losses: torch.einsum("i->", losses) / 10,
    "a running sum": lambda losses: losses.cumsum(0)[-1] / 10,
    "a norm": lambda losses: torch.linalg.vector_norm(losses, 1) / 10,
}


@pytest.mark.parametrize("name", UNNAMED)
def test_a_sum_that_torch_does_not_name_is_said_not_to_be_checked(private, name: str) -> None:
    net, optimizer, loader, engine = private(batch=10)
    x, y = next(iter(loader))
    UNNAMED[name](each(net(x), y)).backward()
    optimizer.step()
    assert any("none over the batch was seen" in one for one in engine.report.runs[0].mixing_probe.remarks)


@pytest.mark.parametrize("place", ["behind", "in front", "a temperature"])
def test_parameters_outside_the_module_are_reported(private, place: str) -> None:
    net, optimizer, loader, engine = private(batch=10)
    x, y = next(iter(loader))
    other = nn.Linear(2, 2) if place == "behind" else nn.Linear(x.shape[1], x.shape[1])
    scale = nn.Parameter(torch.ones(2))
    outputs = {
        "behind": lambda: other(net(x)),
        "in front": lambda: net(other(x)),
        "a temperature": lambda: net(x) * scale,
    }[place]()
    F.cross_entropy(outputs, y).backward()
    optimizer.step()
    outside = [one for one in engine.report.runs[0].mixing_probe.remarks if "outside the module" in one]
    assert len(outside) == (1 if place == "a temperature" else 2)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_that_shares_among_examples_is_refused_by_its_second_step(private, name: str) -> None:
    loss, message = LOSSES[name]
    net, optimizer, loader, engine = private(batch=20)
    with refused(message):
        for x, y in loader:
            optimizer.zero_grad()
            loss(net(x), y).backward()
            optimizer.step()
            assert any(
                "not checked at the first step" in remark
                for remark in engine.report.runs[0].mixing_probe.remarks
            )
    assert engine.ledger.steps < 2


FAIR = {
    "public class weights": lambda out, y: F.cross_entropy(out, y, WEIGHTS, reduction="none").mean(),
    "a column by keyword": lambda out, y: F.softplus(out.unbind(dim=1)[0] * (1 - 2 * y)).mean(),
    "public pos_weight": lambda out, y: F.binary_cross_entropy_with_logits(
        out, F.one_hot(y, 2).float(), pos_weight=WEIGHTS
    ),
    "weights by row": lambda out, y: F.binary_cross_entropy_with_logits(
        out, F.one_hot(y, 2).float(), weight=WEIGHTS[y][:, None].expand(-1, 2)
    ),
    "sum over the batch's size": lambda out, y: F.cross_entropy(out, y, reduction="sum") / len(y),
    "sum over its size, a tensor": lambda out, y: (
        F.cross_entropy(out, y, reduction="sum") / torch.tensor(len(y))
    ),
    "a temperature": lambda out, y: F.cross_entropy(out / torch.tensor(2.0), y),
    "a fixed threshold": lambda out, y: (each(out, y) * (each(out, y) > 0.5)).mean(),
    "the largest of an example": lambda out, y: out.max(1).values.square().mean(),
    "two means": lambda out, y: F.cross_entropy(out, y) + 0.1 * out.square().sum(1).mean(),
    "two sets of labels": lambda out, y: F.cross_entropy(out, y) + F.cross_entropy(out, 1 - y),
    "a mean over the batch, then a sum": lambda out, y: out.square().mean(0).sum(),
    "a sum over masked rows": lambda out, y: (
        F.cross_entropy(out[y == 1], y[y == 1], reduction="sum") / len(y)
    ),
    "a mask within each example": lambda out, y: own_mean(out.square(), words(y)).mean(),
    "a mask within each example, in turn": lambda out, y: torch.stack(
        [row[kept].mean() for row, kept in zip(out.square(), words(y) > 0, strict=True)]
    ).mean(),
    "a number for each, in turn": lambda out, y: (
        sum(own_mean(out[i].square(), words(y)[i]) for i in range(len(y))) / len(y)
    ),
    "divided by hand": lambda out, y: sum(each(out, y)) / len(y),
    "a mean of two heads": lambda out, y: F.cross_entropy(torch.stack([out, 2 * out]).mean(0), y),
    "a mean of votes": lambda out, y: F.nll_loss(
        torch.stack([out.softmax(-1), (2 * out).softmax(-1)]).mean(0).log(), y
    ),
    "a dot product with constants": lambda out, y: torch.dot(
        WEIGHTS, torch.stack([F.cross_entropy(out, y), out.square().sum(1).mean()])
    ),
    "in place by a number": lambda out, y: F.cross_entropy(out, y).clone().mul_(0.5),
}


SUMS_OF_PYTHON = {"a number for each, in turn", "divided by hand", "a mean of two heads", "a mean of votes"}


@pytest.mark.parametrize("name", ["a mask within each example", "a mean over the batch, then a sum"])
def test_batches_of_one_example_share_nothing(private, name: str) -> None:
    net, optimizer, loader, engine = private(batch=1)
    for x, y in loader:
        optimizer.zero_grad()
        out = net(x)
        (FAIR[name](out, y) if len(x) else out.sum()).backward()
        optimizer.step()
    assert engine.ledger.steps == len(loader)


def test_a_second_loss_of_the_same_outputs_is_looked_at(private) -> None:
    net, _optimizer, loader, engine = private(batch=20)
    x, y = next(iter(loader))
    out = net(x)
    F.cross_entropy(out, y).backward(retain_graph=True)
    with refused("mixes the examples"):
        out.std(0).sum().backward()
    assert engine.ledger.steps == 0


def test_a_loss_of_two_examples_amid_the_batch_is_found(private) -> None:
    net, optimizer, loader, _engine = private(**full(40))
    with refused("mixes the examples"):
        for _ in range(40):
            for x, y in loader:
                optimizer.zero_grad()
                out = net(x)
                (F.cross_entropy(out, y) + (out[2] - out[4]).square().sum()).backward()
                optimizer.step()


def test_losses_print_copy_and_save_as_tensors_do(private, tmp_path) -> None:
    net, _optimizer, loader, _ = private(batch=20)
    x, y = next(iter(loader))
    loss = F.cross_entropy(net(x), y)
    assert f"{loss:.3f}" == f"{loss.item():.3f}"
    assert repr(loss).startswith("tensor(")
    with torch.no_grad():
        mean = net(x).softmax(1).mean(0)
    torch.save(mean, tmp_path / "mean")
    assert all(
        type(other) is Tensor and torch.equal(other, mean)
        for other in (copy.deepcopy(mean), torch.load(tmp_path / "mean"))
    )


class Named(NamedTuple):
    logits: Tensor


@dataclass(frozen=True)
class Held:
    logits: Tensor


class Gives(nn.Module):
    """Outputs in a container."""

    def __init__(self, kind) -> None:
        super().__init__()
        self.layer, self.kind = nn.Linear(6, 2), kind

    def forward(self, x: Tensor) -> Tensor:
        return self.kind(self.layer(x))


@pytest.mark.parametrize("kind", [Named, Held])
def test_losses_of_outputs_in_containers_are_looked_at(private, kind) -> None:
    net, optimizer, loader, engine = private(Gives(kind), batch=20)
    x, y = next(iter(loader))
    with refused("how many labels count"):
        ignored(net(x).logits, y)
    optimizer.zero_grad()
    F.cross_entropy(net(x).logits, y).backward()
    optimizer.step()
    probed = engine.report.runs[0].mixing_probe
    assert (probed.model, probed.values, probed.loss) == (NO_DEPENDENCE, NO_DEPENDENCE, NO_DEPENDENCE)


@pytest.mark.parametrize("name", FAIR)
def test_a_loss_of_one_term_an_example_trains(private, name: str) -> None:
    net, optimizer, loader, engine = private(batch=8)
    for x, y in loader:
        optimizer.zero_grad()
        out = net(x)
        if len(x) > 1:
            each(out, y).max().item()
            each(out, y).topk(1)
        FAIR[name](out, y).backward()
        optimizer.step()
    assert engine.ledger.steps == len(loader)
    assert engine.report.runs[0].mixing_probe.loss == NO_DEPENDENCE
    remarks = " ".join(engine.report.runs[0].mixing_probe.remarks)
    for doubt in ("changes from step to step", "goes another way", "outside"):
        assert doubt not in remarks
    assert ("none over the batch" in remarks) is (name in SUMS_OF_PYTHON)


def test_labels_to_ignore_are_refused_when_they_first_come(private) -> None:
    net, optimizer, loader, engine = private(batch=20)
    for count, (x, y) in enumerate(loader, 1):
        optimizer.zero_grad()
        out = net(x)
        if count == 1:
            F.cross_entropy(out, y).backward()
        else:
            with refused("how many labels count in"):
                F.cross_entropy(out.view(-1, 2), torch.where(torch.arange(len(y)) == 0, -100, y)).backward()
            break
        optimizer.step()
    assert engine.ledger.steps == 1


REDUCTIONS = {
    "a sum": ("mean", lambda out, y: F.cross_entropy(out, y, reduction="sum"), 0),
    "a sum of terms": ("mean", lambda out, y: each(out, y).sum(), 0),
    "a scaled sum": ("mean", lambda out, y: 0.01 * each(out, y).sum(), 1),
    "a mean": ("sum", F.cross_entropy, 0),
    "a mean of terms": ("sum", lambda out, y: each(out, y).mean(), 0),
    "a sum, divided": ("sum", lambda out, y: each(out, y).sum() / len(y), 1),
    "a mean of rows": ("sum", lambda out, y: 2 * (out - 1).square().mean(1).mean(0), 1),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_a_reduction_that_is_not_as_declared_is_refused(private, name: str) -> None:
    declared, loss, steps = REDUCTIONS[name]
    net, optimizer, loader, engine = private(batch=10, loss_reduction=declared)
    other = "sum" if declared == "mean" else "mean"
    with refused(f'the loss is a {other} over the batch where loss_reduction="{declared}" was declared'):
        for x, y in loader:
            optimizer.zero_grad()
            loss(net(x), y).backward()
            optimizer.step()
    assert engine.ledger.steps == steps


def test_a_scale_that_changes_is_reported(private) -> None:
    net, optimizer, loader, engine = private(batch=20)
    for x, y in loader:
        optimizer.zero_grad()
        (each(net(x), y).sum() / (y == 1).sum().item()).backward()
        optimizer.step()
    assert any(
        "what one example counts changes" in remark for remark in engine.report.runs[0].mixing_probe.remarks
    )


def test_a_loss_of_pairs_from_two_passes_is_refused(private) -> None:
    net, _, loader, engine = private(batch=20)
    x, _ = next(iter(loader))
    half = len(x) // 2
    one, other = net(x[:half]), net(x[half : 2 * half])
    with refused("loss mixes the examples"):
        ((one * other).sum(1).mean() + one.square().mean()).backward()
    assert engine.ledger.steps == 0


def test_a_loss_without_a_gradient_is_not_called_fine(private) -> None:
    net, optimizer, loader, engine = private(batch=20)
    x, y = next(iter(loader))
    (F.cross_entropy(net(x), y) * 0).backward()
    optimizer.step()
    assert engine.report.runs[0].mixing_probe.loss == "not checked: the gradient was zero"


class OwnLoss(nn.Module):
    """Gives its loss itself, as models of Hugging Face do."""

    def __init__(self, loss) -> None:
        super().__init__()
        self.layer, self.loss = nn.Linear(6, 2), loss

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.layer(x)
        return Output(logits=logits, loss=self.loss(logits, labels))


class Output(dict):
    """A container of a kind of its own."""


def masked(out: Tensor, y: Tensor) -> Tensor:
    kept = y != -100
    return (F.cross_entropy(out, y.clamp(min=0), reduction="none") * kept).sum() / kept.sum()


def test_losses_inside_the_model_are_looked_at(private) -> None:
    def train(loss, hide) -> str:
        net, optimizer, loader, engine = private(OwnLoss(loss), batch=20)
        for count, (x, y) in enumerate(loader):
            optimizer.zero_grad()
            net(x, labels=hide(y, count))["loss"].backward()
            optimizer.step()
        return engine.report.runs[0].mixing_probe.loss

    def some(y: Tensor, _count: int) -> Tensor:
        return torch.where(torch.arange(len(y)) % 3 == 0, -100, y)

    def later(y: Tensor, count: int) -> Tensor:
        return some(y, count) if count else y

    assert train(F.cross_entropy, lambda y, _count: y) == NO_DEPENDENCE
    for hide in (some, later):
        with refused("how many labels count in.*take the outputs"):
            train(F.cross_entropy, hide)
    with refused("OwnLoss works out itself mixes"):
        train(masked, some)
    with refused("OwnLoss works out itself mixes"):
        train(lambda out, _y: out.exp().sum().log(), lambda y, _count: y)


def test_outputs_in_a_container_of_a_kind_of_its_own_are_watched(private) -> None:
    net, _, loader, engine = private(OwnLoss(F.cross_entropy), batch=20)
    x, y = next(iter(loader))
    out = net(x, labels=y)
    with refused("selects among"):
        each(out["logits"], y).topk(3).values.mean().backward()
    assert engine.ledger.steps == 0
