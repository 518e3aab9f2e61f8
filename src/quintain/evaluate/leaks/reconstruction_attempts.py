"""The reconstructions from one update in the form of a record, and the notes that explain them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from quintain.evaluate.images import PictureFrame, store_picture
from quintain.evaluate.leaks.public_pictures import psnr_between
from quintain.evaluate.leaks.sent_updates import SentUpdate
from quintain.results.artifacts import Picture
from quintain.results.literals import NO_ATTACK
from quintain.results.privacy_records import LEAK_MARGIN, Reconstruction


@dataclass(frozen=True, slots=True)
class Album:
    """Stores pictures in the run folder, if they may be shown.

    Args:
        folder: The run folder.
        show: Whether private pictures may be stored.
    """

    folder: Path
    show: bool

    def store(self, name: str, image: Tensor, caption: str, frame: PictureFrame = "") -> Picture | None:
        """Store a picture and return its entry in the record; None if private pictures may not be shown."""
        return store_picture(self.folder, name, image, caption, frame) if self.show else None

    def baseline(self, title: str, image: Tensor, original: Tensor, name: str = "") -> Reconstruction:
        """Return how near ``image``, made without an attack, is to an original; store it if it has a name."""
        psnr = psnr_between(image, original)
        caption = f"{NO_ATTACK}{title}, {psnr:.1f} dB"
        picture = self.store(name, image, caption, "reference") if name else None
        return Reconstruction(f"{NO_ATTACK}{title}", psnr, picture, False)

    @property
    def notes(self) -> tuple[str, ...]:
        """A note that says why there are no pictures, if there are none."""
        return (
            ()
            if self.show
            else (
                "originals and reconstructions are private and were not stored: quintain leak --show-private "
                "puts them into its report",
            )
        )


def best_attempt(
    number: int,
    sent: SentUpdate,
    reconstructions: Sequence[Tensor],
    baselines: tuple[float, ...],
    album: Album,
    *,
    works: bool,
) -> Reconstruction:
    """Return the best reconstruction for each site, and the site where it exceeds its baseline most.

    Args:
        number: Index of the update, for the file name of its picture.
        sent: The update.
        reconstructions: The pictures (*S) that were reconstructed from it; none where there was nothing to
            attack.
        baselines: The best PSNR for each site's picture without this update, in dB.
        album: Stores the picture.
        works: Whether the attack works on the plain update; if not, nothing counts as a leak.
    """
    if not reconstructions:
        return Reconstruction(
            update_type=sent.title,
            psnr=None,
            picture=None,
            leaks=False,
            site=1,
            baseline_psnr=baselines[0],
            failure_reason=sent.failure_reason,
        )
    psnrs = [max(psnr_between(image, original) for image in reconstructions) for original in sent.originals]
    site = max(range(len(psnrs)), key=lambda site: psnrs[site] - baselines[site])
    image = max(reconstructions, key=lambda image: psnr_between(image, sent.originals[site]))
    leaks = works and is_nearer(psnrs[site], baselines[site])
    picture = album.store(
        f"leak-{number}", image, f"from {sent.title}, {psnrs[site]:.1f} dB", "bad" if leaks else "good"
    )
    return Reconstruction(
        update_type=sent.title,
        psnr=psnrs[site],
        picture=picture,
        leaks=leaks,
        site=site + 1,
        baseline_psnr=baselines[site],
        psnr_by_site=tuple(psnrs),
    )


def is_nearer(psnr: float, baseline: float) -> bool:
    """Whether a PSNR exceeds a baseline by ``LEAK_MARGIN`` dB."""
    return psnr > baseline and psnr >= baseline + LEAK_MARGIN


def attempt_notes(
    attempts: Sequence[Reconstruction], *, sites: int, few_public_pictures: bool
) -> tuple[str, ...]:
    """Return notes on what the reconstructions show and what they do not.

    Args:
        attempts: From the plain update, from the secure sum and from the private update.
        sites: How many updates are in the sum.
        few_public_pictures: Whether there are too few public pictures for a meaningful baseline.
    """
    plain, summed, private = attempts
    notes = [f"{one.update_type}: {one.failure_reason}" for one in attempts if one.failure_reason]
    if summed.leaks:
        notes.append(
            f"the secure sum gives away the image of site {summed.site}: {_compare(summed)}; adding up "
            f"{sites} updates hides none for certain"
        )
    elif summed.psnr is not None and summed.baseline_psnr is not None:
        failed = (
            f"what was reconstructed from the sum of {sites} is no evidence, with nothing "
            "reconstructed from the plain update"
            if is_nearer(summed.psnr, summed.baseline_psnr)
            else f"nothing was reconstructed from the sum of {sites} that is not known without it"
        )
        notes.append(
            f"{failed} (at best {_compare(summed)}, and {LEAK_MARGIN:g} dB more would be a leak): this "
            "attack failed, which proves nothing, since a sum adds no noise"
        )
    if private.leaks:
        small = (
            "that says little, with so few public pictures"
            if few_public_pictures
            else "its noise is too small to hide a picture"
        )
        notes.append(
            f"the private update gives away more than is known without it: {_compare(private)}; {small}"
        )
    elif not private.failure_reason:
        notes.append("of the three only the private update carries a guarantee: that of its noise")
    if not plain.leaks:
        notes.append(
            "the unprotected update was not reconstructed either, so this run says nothing about the two "
            "protections; use more --steps"
        )
    return tuple(notes)


def _compare(one: Reconstruction) -> str:
    assert one.psnr is not None
    return f"{one.psnr:.1f} dB, where {one.baseline_psnr:.1f} dB are known without it"
