"""What an attack rebuilt from an update, as a record has it, and what may be said of it."""

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
    """Pictures in the run folder, if they may be stored.

    Args:
        folder: The run folder.
        show: Whether they may.
    """

    folder: Path
    show: bool

    def store(self, name: str, image: Tensor, caption: str, frame: PictureFrame = "") -> Picture | None:
        """A picture, or None where it is private."""
        return store_picture(self.folder, name, image, caption, frame) if self.show else None

    def baseline(self, title: str, image: Tensor, original: Tensor, name: str = "") -> Reconstruction:
        """Return what is known of an original without an attack, its picture stored if it has a name."""
        quality = psnr_between(image, original)
        caption = f"{NO_ATTACK}{title}, {quality:.1f} dB"
        picture = self.store(name, image, caption, "reference") if name else None
        return Reconstruction(f"{NO_ATTACK}{title}", quality, picture, False)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader is told where pictures are missing."""
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
    tries: Sequence[Tensor],
    floors: tuple[float, ...],
    album: Album,
    *,
    works: bool,
) -> Reconstruction:
    """Return the best try against each site whose update went in, and against the one where it gains most.

    Args:
        number: Of the update, for the name of its picture.
        sent: The update.
        tries: The pictures (*S) that were rebuilt from it; none where there was nothing to attack.
        floors: What is known of each site's picture anyway, in dB.
        album: Takes the picture.
        works: Whether the attack works on the plain update; else nothing leaks.
    """
    if not tries:
        return Reconstruction(
            update_type=sent.title,
            psnr=None,
            picture=None,
            leaks=False,
            site=1,
            baseline_psnr=floors[0],
            failure_reason=sent.failure_reason,
        )
    qualities = [max(psnr_between(image, original) for image in tries) for original in sent.originals]
    site = max(range(len(qualities)), key=lambda site: qualities[site] - floors[site])
    image = max(tries, key=lambda image: psnr_between(image, sent.originals[site]))
    quality = qualities[site]
    leaks = works and is_nearer(quality, floors[site])
    picture = album.store(
        f"leak-{number}", image, f"from {sent.title}, {quality:.1f} dB", "bad" if leaks else "good"
    )
    return Reconstruction(
        update_type=sent.title,
        psnr=quality,
        picture=picture,
        leaks=leaks,
        site=site + 1,
        baseline_psnr=floors[site],
        psnr_by_site=tuple(qualities),
    )


def is_nearer(quality: float, known: float) -> bool:
    """Whether a picture shows more of an original than ``known``, in dB, by more than chance."""
    return quality > known and quality >= known + LEAK_MARGIN


def attempt_notes(attempts: Sequence[Reconstruction], *, sites: int, few: bool) -> tuple[str, ...]:
    """What the numbers say, and no more: of a ``few`` public pictures, that they are no floor."""
    plain, summed, private = attempts
    notes = [f"{one.update_type}: {one.failure_reason}" for one in attempts if one.failure_reason]
    if summed.leaks:
        notes.append(
            f"the secure sum gives away the image of site {summed.site}: {_compare(summed)}; adding up "
            f"{sites} updates hides none for certain"
        )
    elif summed.psnr is not None and summed.baseline_psnr is not None:
        failed = (
            f"what was rebuilt from the sum of {sites} is no evidence, with nothing rebuilt from the plain "
            "update"
            if is_nearer(summed.psnr, summed.baseline_psnr)
            else f"nothing was rebuilt from the sum of {sites} that is not known without it"
        )
        notes.append(
            f"{failed} (at best {_compare(summed)}, and {LEAK_MARGIN:g} dB more would be a leak): this "
            "attack failed, which proves nothing, since a sum adds no noise"
        )
    if private.leaks:
        small = (
            "that says little, with so few public pictures"
            if few
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
