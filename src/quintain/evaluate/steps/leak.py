"""Reconstruct an image from the update that it caused, and from updates that are protected."""

import copy
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from quintain.core.errors import DataError
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.evaluate.images import drawable
from quintain.evaluate.leaks.job import LeakFindings, LeakJob, LeakTarget
from quintain.evaluate.leaks.kept_reconstructions import (
    interruption_of_reconstructions,
    reconstruct_or_load,
    reconstruction_settings,
)
from quintain.evaluate.leaks.pictures import measure
from quintain.evaluate.leaks.public_pictures import PublicPictures, psnr_between
from quintain.evaluate.leaks.reconstruction import as_reconstruction
from quintain.evaluate.leaks.reconstruction_attempts import Album, attempt_notes, best_attempt, is_nearer
from quintain.evaluate.leaks.sent_updates import NOISE, plain_updates, updates_at_server
from quintain.evaluate.leaks.update_settings import SETTINGS
from quintain.evaluate.step import StepOutput
from quintain.evaluate.training import require_copyable
from quintain.leakage import (
    LeakageAttack,
    ReconstructionAttack,
    invert_gradient,
)
from quintain.models.classifier import Classifier
from quintain.models.loop_checkpoints import Checkpoints
from quintain.results.privacy_records import LeakResult, Reconstruction

SITES = 5
MEASURED = 25
"""Pictures that an attack seeks in each setting where defenses are compared, at most."""
PUBLIC = 1024
"""Pictures, at most, that everybody knows: what an attack has to beat is made of them."""
CONTROL = "control"
"""Name of what is kept of the control."""

TV_WEIGHTS = (1e-4, 0.03, 0.3)
"""Of the reconstruction: one try each; the best by comparison with the original counts, in the attacker's
favor. Of what no attack is needed for, the best counts as well."""


def run_leak(
    net: nn.Module,
    data: Dataset,
    *,
    attack: ReconstructionAttack | type[LeakageAttack] = invert_gradient,
    measured: Sequence[LeakageAttack] = (),
    candidates: int = MEASURED,
    steps: int = 800,
    seed: int = 0,
    folder: Path,
    show: bool,
    unfinished: Path | None = None,
    progress: Progress = no_progress,
) -> StepOutput:
    """Reconstruct images from updates: from one site's gradient, a secure sum of five, and one with noise.

    Each of the five sites has one image. A picture that was reconstructed from the sum is compared with each
    site's. It leaks where it is nearer to an original, by 1 dB, than anything that is known without its
    update: the mean of all public pictures and of each class, the nearest of up to 1,024 public pictures, the
    best picture of one color, and, as a control, what the same attack reconstructs from updates in which that
    site has no part. The first site has a part in all three, so that its control is the plain update of
    another site. A protected update leaks only where the plain one does, which shows that the attack works.
    Where an update is zero, or the net cannot be trained privately, the row of that update says so.

    Args:
        net: The weights that were broadcast; in evaluation mode, and left as it is.
        data: Images; the sites' and the public ones are drawn from it by the seed.
        attack: Reconstructs the image behind an update; or the class of a leakage attack that does, which
            gets ``steps`` and the weight of total variation where it has such settings.
        measured: Attacks on updates that are measured against each defense as well
            (``evaluate.leaks.pictures``), where there are enough pictures.
        candidates: Pictures that each of those seeks in each setting, at most.
        steps: Of each reconstruction.
        seed: Of the choice and the starts.
        folder: Run folder for the pictures.
        show: Whether originals and reconstructions may be stored; otherwise only numbers are.
        unfinished: Where finished reconstructions, the state of the one at work and the private update are
            kept, so that the same call resumes after a kill; to be deleted once the record is written. What
            it holds is as private as the data.
        progress: Shows bars.

    Raises:
        DataError: If the data are no pictures, or too few.
        RunFolderError: If ``unfinished`` holds reconstructions by another net, of other data or settings.
    """
    if not drawable(data.shape):
        raise DataError(f"{data!r}; expected more than {SITES} gray or RGB pictures to rebuild one")
    if len(data) <= SITES:
        raise DataError(
            f"{data.name} has {len(data)} picture{'s' * (len(data) != 1)}; expected at least {SITES + 1}, "
            f"one for each of {SITES} sites and one beside them: give more pictures"
        )
    require_copyable(net)
    net, attack = copy.deepcopy(net).requires_grad_(True), as_reconstruction(attack)
    rows = np.random.default_rng(derive_seed(seed, "victims")).permutation(len(data))
    x, y = data.batch(rows[:SITES])
    updates = plain_updates(net, x, y)
    settings = reconstruction_settings(net, data, attack, steps, seed) if unfinished else {}
    kept = Checkpoints(unfinished, settings)
    sent = updates_at_server(net, data.subset(rows[:1]), x, updates, kept)
    public = PublicPictures(data, rows[SITES : SITES + PUBLIC], needed=SITES)
    known = [public.best(original) for original in x]
    album = Album(folder, show)
    clock = time.perf_counter()

    def reconstruct_each(name: str, update: Tensor, tv_weights: Sequence[float]) -> list[Tensor]:
        with interruption_of_reconstructions(kept):
            return [
                reconstruct_or_load(
                    attack,
                    net,
                    update,
                    data.shape,
                    steps=steps,
                    tv_weight=tv_weight,
                    seed=derive_seed(seed, "invert"),
                    checkpoints=kept.within(f"{name}-{tv_weight:g}"),
                    progress=progress,
                )
                for tv_weight in tv_weights
            ]

    reconstructions = [
        []
        if one.update is None
        else reconstruct_each(f"{number}", one.update, TV_WEIGHTS if number else TV_WEIGHTS[:1])
        for number, one in enumerate(sent)
    ]
    # The first site has a part in all three updates, so its control is reconstructed from another site's
    # update. The further weights, which only the protected updates get, are run on the control too if one of
    # those updates would otherwise count as a leak.
    control: list[Tensor] = []
    other = next((update for update in updates[1:] if update.any()), None)
    if other is not None and any(reconstructions):
        control = reconstruct_each(CONTROL, other, TV_WEIGHTS[:1])
        protected = (*reconstructions[1], *reconstructions[2])
        if any(is_nearer(psnr_between(image, x[0]), known[0]) for image in protected):
            control += reconstruct_each(CONTROL, other, TV_WEIGHTS[1:])
    seconds = time.perf_counter() - clock
    # The first and the last update are of the first site alone: for the other sites they are the controls.
    controls = [control, *[[*reconstructions[0], *reconstructions[2]]] * (SITES - 1)]
    baselines = tuple(
        max([public_psnr, *(psnr_between(image, original) for image in images)])
        for public_psnr, original, images in zip(known, x, controls, strict=True)
    )
    attempts: list[Reconstruction] = []
    for number, (one, images) in enumerate(zip(sent, reconstructions, strict=True)):
        works = not number or attempts[0].leaks
        attempts.append(best_attempt(number, one, images, baselines, album, works=works))
    index = attempts[0].site - 1
    original = x[index]
    result = LeakResult(
        original=album.store("leak-original", original, "the original"),
        reconstructions=tuple(attempts),
        mean_image=album.baseline("the best mean picture", public.mean(original), original, "leak-mean"),
        noise_multiplier=NOISE,
        seconds=seconds,
        nearest_image=album.baseline(
            f"the nearest of {public.count} public pictures",
            public.nearest(original),
            original,
            "leak-nearest",
        ),
        baseline_psnr_by_site=baselines,
        constant_image=album.baseline("the best picture of one color", public.constant(original), original),
    )
    found = LeakFindings(())
    if measured:
        found = _measure(net, data, measured, candidates, seed, folder, show, unfinished, progress)
        seconds = time.perf_counter() - clock
        result = replace(result, measurements=found.measurements, pictures=found.pictures, seconds=seconds)
    notes = attempt_notes(attempts, sites=SITES, few_public_pictures=public.is_few)
    return StepOutput(result, notes=(*notes, *public.notes, *found.notes, *album.notes), reproducible=False)


def _measure(
    net: nn.Module,
    data: Dataset,
    attacks: Sequence[LeakageAttack],
    candidates: int,
    seed: int,
    folder: Path,
    show: bool,
    unfinished: Path | None,
    progress: Progress,
) -> LeakFindings:
    """Measure attacks against each defense: half of the pictures are the sites', the others public."""
    rows = np.random.default_rng(derive_seed(seed, "measured")).permutation(len(data))
    half = min(len(data) // 2, max(2 * max(one.num_pictures for one in SETTINGS), candidates))
    members = data.subset(rows[:half], name=f"{data.name}, at sites")
    try:
        others = data.subset(rows[half : half + PUBLIC], name=f"{data.name}, public")
        job = LeakJob(
            LeakTarget(Classifier(net, num_classes=data.num_classes), "net"),
            attacks,
            members,
            others,
            candidates=candidates,
            seed=derive_seed(seed, "measured"),
            folder=folder,
            show=show,
            unfinished=None if unfinished is None else unfinished / "defenses",
            progress=progress,
        )
        return measure(job, skip_impossible=True)
    except DataError as error:
        return LeakFindings((), notes=(f"defenses were not compared: {error}",))
