"""An X-ray rebuilt from the update that it caused, however well the wire is encrypted; and what protects it."""

import copy
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from quintain.core.errors import DataError
from quintain.core.progress import Progress, silent
from quintain.core.seeds import derive
from quintain.core.statistics import psnr
from quintain.data.dataset import Dataset
from quintain.dp import PrivatePlan, fit
from quintain.evaluate.outcome import Outcome
from quintain.evaluate.pictures import drawable, store_picture
from quintain.federated import secure_sum
from quintain.leakage import invert
from quintain.results.privacy_records import Leaked, Reconstruction

SITES = 5
MEAN_OF = 1024
NOISE, CLIP = 1.0, 1.0
"""Of the privatized update: noise multiplier and clip norm."""

SMOOTHNESS = (1e-4, 0.03, 0.3)
"""Of the reconstruction; the best by comparison with the original is shown, in the attacker's favour."""


def leaked_outcome(
    net: nn.Module,
    data: Dataset,
    *,
    steps: int = 800,
    seed: int = 0,
    folder: Path,
    progress: Progress = silent,
) -> Outcome:
    """Five sites send the gradient of one image each; the first one's is attacked, sent in three ways.

    Args:
        net: The weights that were broadcast; in evaluation mode, and left as it is.
        data: Images; the sites' and the public mean are drawn from it by the seed.
        steps: Of each reconstruction.
        seed: Of the choice and the starts.
        folder: Run folder for the pictures.
        progress: Shows bars.

    Raises:
        DataError: If the data are no pictures, or too few.
    """
    if not drawable(data.shape) or len(data) <= SITES:
        raise DataError(f"{data!r}; expected more than {SITES} grey or RGB pictures to rebuild one")
    net = copy.deepcopy(net).requires_grad_(True)
    rows = np.random.default_rng(derive(seed, "victims")).permutation(len(data))
    x, y = data.batch(rows[:SITES])
    updates = [_gradient(net, x[site : site + 1], y[site : site + 1]) for site in range(SITES)]
    bound = float(max(update.abs().max() for update in updates))
    summed = secure_sum({f"site-{site + 1}": update.double().numpy() for site, update in enumerate(updates)}, clip=bound)
    private = _private(net, data.subset(rows[:1]))
    sent = {
        "a plain update": updates[0],
        f"a securely aggregated sum of {SITES}": torch.from_numpy(summed.mean).float(),
        f"a privatized update (noise {NOISE:g} C)": private,
    }
    original = x[0]
    baseline_image = data.batch(np.sort(rows[SITES : SITES + MEAN_OF]))[0].mean(0)
    floor = _psnr(baseline_image, original)
    clock = time.perf_counter()
    attempts = []
    for number, (setting, update) in enumerate(sent.items()):
        found = [
            invert(net, update, data.shape, steps=steps, smoothness=smoothness, seed=derive(seed, "invert"), progress=progress).image
            for smoothness in (SMOOTHNESS if number else SMOOTHNESS[:1])
        ]
        image = max(found, key=lambda image: _psnr(image, original))
        quality = _psnr(image, original)
        caption = f"from {setting}, {quality:.1f} dB"
        picture = store_picture(folder, f"leak-{number}", image, caption, "bad" if quality > floor else "good")
        attempts.append(Reconstruction(setting, quality, picture, quality > floor))
    seconds = time.perf_counter() - clock
    reference = store_picture(folder, "leak-mean", baseline_image, f"no attack: the mean image, {floor:.1f} dB", "reference")
    body = Leaked(
        store_picture(folder, "leak-original", original, "the original"),
        tuple(attempts),
        Reconstruction("no attack: the mean image", floor, reference, False),
        NOISE,
        seconds,
    )
    notes = [f"a secure sum hides an update among {SITES} and adds no noise: only the private update carries a guarantee"]
    if not attempts[0].leaks:
        notes.append("the plain update was not rebuilt either: the two defences are not shown to resist anything")
    return Outcome(body, notes=tuple(notes), reproducible=False)


def _gradient(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """What one step of plain SGD on one example sends, flat."""
    loss = nn.functional.cross_entropy(net(x), y)
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(net.parameters()))])


def _private(net: nn.Module, one: Dataset) -> Tensor:
    """The same step through the private engine."""
    released: list[Tensor] = []
    plan = PrivatePlan(NOISE, CLIP, expected_batch_size=1, steps=1, rate=1.0)
    fit(copy.deepcopy(net), one, plan, on_step=lambda _step, update: released.append(update.clone()))
    return released[0]


def _psnr(image: Tensor, original: Tensor) -> float:
    return psnr(float((image.clamp(0, 1).double() - original.double()).square().mean()))
