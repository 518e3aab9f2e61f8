"""What sites send of one picture each: the first one alone, all in a secure sum, the first one with noise."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.data.dataset import Dataset
from quintain.dp import PrivatePlan, fit
from quintain.federated import secure_sum
from quintain.models.adapters import forward_logits
from quintain.models.devices import device_of
from quintain.models.loop_checkpoints import Checkpoints

NOISE, CLIP = 1.0, 1.0
"""Of the privatized update: noise multiplier and clip norm."""
EMPTY = "nothing in it: not rebuilt"
"""Said of an update of zeros, which a net sends that is certain of its answer."""
PRIVATE_UPDATE = "private-update"
"""Name of what is kept of it."""


@dataclass(frozen=True, slots=True, eq=False)
class SentUpdate:
    """An update as the server has it.

    Args:
        title: What it is, in words.
        update: Flat, on the CPU; None where there is none.
        originals: The pictures (n, *S) behind it.
        failure_reason: Why there is nothing to attack; empty where there is something.
    """

    title: str
    update: Tensor | None
    originals: Tensor
    failure_reason: str = ""

    @classmethod
    def of(cls, title: str, update: Tensor | str, originals: Tensor) -> "SentUpdate":
        """Return an update, or why there is none."""
        if isinstance(update, str):
            return cls(title, None, originals, update)
        return cls(title, update, originals) if update.any() else cls(title, None, originals, EMPTY)


def plain_updates(net: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
    """Return the gradient of each picture of ``x`` (n, *S) with its label of ``y`` (n,), flat."""
    return [_gradient(net, x[site : site + 1], y[site : site + 1]) for site in range(len(x))]


def updates_at_server(
    net: nn.Module, first: Dataset, x: Tensor, updates: Sequence[Tensor], checkpoints: Checkpoints
) -> tuple[SentUpdate, ...]:
    """Return the first site's plain update, the secure sum of all, and the first one's with noise.

    Args:
        net: The net of the round.
        first: The picture of the first site.
        x: The pictures of all sites (n, *S).
        updates: Of each of them.
        checkpoints: Keep the private update, which no second run draws again.
    """
    bound = float(max(update.abs().max() for update in updates)) or 1.0
    summed = secure_sum(
        {f"site-{site + 1}": update.double().numpy() for site, update in enumerate(updates)}, clip_value=bound
    )
    return (
        SentUpdate.of("a plain update", updates[0], x[:1]),
        SentUpdate.of(
            f"a securely aggregated sum of {len(updates)}", torch.from_numpy(summed.mean).float(), x
        ),
        SentUpdate.of(f"a privatized update (noise {NOISE:g} C)", _private(net, first, checkpoints), x[:1]),
    )


def _gradient(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """What one step of plain SGD on one example sends, flat and on the CPU."""
    device = device_of(net)
    loss = nn.functional.cross_entropy(forward_logits(net, x.to(device)), y.to(device))
    parts = torch.autograd.grad(loss, list(net.parameters()), materialize_grads=True)
    return torch.cat([part.flatten() for part in parts]).cpu()


def _private(net: nn.Module, one: Dataset, checkpoints: Checkpoints) -> Tensor | str:
    """The same step through the private engine, or what is kept of it; or why it refuses the net."""
    kept = checkpoints.loop(PRIVATE_UPDATE)
    if kept.step:
        return kept.state["update"]
    released: list[Tensor] = []
    plan = PrivatePlan(NOISE, CLIP, expected_batch_size=1, steps=1, learning_rate=1.0)
    try:
        fit(
            copy.deepcopy(net), one, plan, on_step=lambda _step, update: released.append(update.clone().cpu())
        )
    except PrivacyError as error:
        return f"there is none, since the net cannot be trained privately: {error}"
    kept.save(1, {"update": released[0]})
    return released[0]
