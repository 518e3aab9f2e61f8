"""Measure which pictures attacks rebuild from what sites send, without a defense and with each.

Each attack meets each setting (``update_settings``) on some updates of pictures of their own. What it guesses
of one update is, for the pictures of another, what it makes without them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from quintain.core.errors import DataError, ModelError
from quintain.core.limits import require_at_least
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.evaluate.images import PictureFrame, drawable, store_picture
from quintain.evaluate.leaks.inputs import require_same_shape
from quintain.evaluate.leaks.job import LeakFindings, LeakJob
from quintain.evaluate.leaks.measurement import to_measurement
from quintain.evaluate.leaks.overlap import leave_out_shared
from quintain.evaluate.leaks.update_settings import SETTINGS, UpdateSetting
from quintain.leakage.attack import Candidates, LeakageAttack
from quintain.leakage.judges.pictures import (
    GuessedUpdate,
    JudgedPictures,
    KnownPictures,
    Quality,
    compare_pictures,
    judge_quality,
    judge_reconstructed,
)
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.update_view import UpdateView
from quintain.models.classifier import Classifier
from quintain.models.fingerprint import fingerprint
from quintain.models.loop_checkpoints import Checkpoints, with_checkpoints
from quintain.results.leak_records import LeakMeasurement, LeakPictures
from quintain.version import __version__

MAX_PUBLIC = 1024
"""Most public pictures that baselines are computed from."""
MAX_UPDATES, MAX_UPDATES_ITERATIVE = 10, 4
"""Most updates of a setting that are attacked: by attacks in closed form, and by attacks that optimize."""
MAX_ROUNDS = 2
"""Most rounds over the same pictures that an attack gets."""
OTHER_ATTACK = "Take another attack on updates (quintain list leak --long), or another net"
"""What an error advises if an attack does not work on a net."""
QUALITIES: tuple[Quality, ...] = ("psnr", "ssim")

Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class _Trial:
    """One attack on some updates of one setting.

    Args:
        attack: The attack.
        setting: How sites send updates.
        judged: The qualities of its guesses, by PSNR.
        updates: The updates, with its guesses.
        rows: (N,) rows of the members, in the order of the pictures.
    """

    attack: LeakageAttack
    setting: UpdateSetting
    judged: JudgedPictures
    updates: tuple[GuessedUpdate, ...]
    rows: NDArray[np.int64]

    @property
    def num_reconstructed(self) -> int:
        """How many pictures were reconstructed."""
        return int(self.judged.is_reconstructed().sum())

    @property
    def count_text(self) -> str:
        """How many pictures were reconstructed, of how many."""
        return f"{self.num_reconstructed} of {len(self.rows)}"


def measure(
    job: LeakJob,
    settings: Sequence[UpdateSetting] = SETTINGS,
    *,
    max_updates: int | None = None,
    skip_impossible: bool = False,
) -> LeakFindings:
    """Measure the attacks of the goal ``pictures``.

    The pictures behind updates are members; the others are public. At most ``job.candidates`` pictures are
    rebuilt in each setting, from at least two updates. Attacks that need not choose the net meet no setting
    whose defense is to refuse nets.

    Args:
        job: What is measured; its target is a net.
        settings: How sites send updates.
        max_updates: Updates of a setting that are attacked, at most; 10 by closed forms and 4 by attacks that
            optimize if not given.
        skip_impossible: Say of an attack that does not work on this net that it does not, in place of
            raising.

    Raises:
        ModelError: If the target is no net whose weights are known, or an attack does not work on it.
        DataError: If examples are no pictures, too few, of other shapes, or many are public, too.
    """
    require_at_least(1, budget=job.budget, candidates=job.candidates)
    if not isinstance(job.target.model, Classifier):
        raise ModelError(f"{job.target.model.name} is a black box, which sends no updates; expected a net")
    if not drawable(job.members.shape):
        raise DataError(f"{job.members!r}; expected gray or RGB pictures to rebuild")
    if len(job.members) < 2:
        raise DataError(f"{job.members.name} has {len(job.members)} picture; expected at least 2 to rebuild")
    require_same_shape(job.members, job.others)
    others = leave_out_shared(job.members, job.others)
    net, public = job.target.model.net, others.sample(MAX_PUBLIC, seed=derive_seed(job.seed, "public"))
    x, y = public.tensors
    known = KnownPictures(x.numpy(), y.numpy())
    kept = Checkpoints(job.unfinished, _settings(job, net, settings) if job.unfinished else {})
    trials: list[_Trial] = []
    notes: list[str] = []
    for attack in job.attacks:
        chooses = getattr(attack, "chooses_net", False)
        met = [one for one in settings if chooses or one.pins == "nothing"]
        fit = [one for one in met if 2 * one.num_pictures <= len(job.members)]
        if len(fit) < len(met):
            left_out = "; ".join(one.title for one in met if one not in fit)
            notes.append(f"left out, as {len(job.members)} pictures are too few for it: {left_out}")
        try:
            trials += [_attack(job, attack, one, public, known, kept, max_updates) for one in fit]
        except ModelError as error:
            if not skip_impossible:
                raise ModelError(
                    f"{attack.name} does not work on this net: {error}. {OTHER_ATTACK}"
                ) from error
            notes.append(f"{attack.name} does not work on this net: {error}")
    found = [one for trial in trials for one in _measurements(job, trial, known)]
    pictures = [one for number, trial in enumerate(trials) for one in _pictures(job, number, trial, known)]
    return LeakFindings(tuple(found), tuple(pictures), (*notes, *_notes(job, trials)))


def _attack(
    job: LeakJob,
    attack: LeakageAttack,
    setting: UpdateSetting,
    public: Dataset,
    known: KnownPictures,
    kept: Checkpoints,
    max_updates: int | None,
) -> _Trial:
    """Attack some updates of a setting, and judge what was guessed."""
    count = setting.num_pictures
    usual = MAX_UPDATES_ITERATIVE if getattr(attack, "is_iterative", True) else MAX_UPDATES
    most = usual if max_updates is None else max_updates
    updates = max(2, min(most, job.candidates // count, len(job.members) // count))
    order = np.random.default_rng(derive_seed(job.seed, "pictures")).permutation(len(job.members))
    rows = order[: updates * count].reshape(updates, count)
    name = f"{attack.name}-{_slug(setting)}"
    guesses = [
        _guess(job, attack, setting, public, members, kept.within(f"{name}-{update}"))
        for update, members in enumerate(rows)
    ]
    originals = [job.members.batch(members)[0].numpy() for members in rows]
    # The guesses from the next update are unrelated to this one's pictures.
    guessed = tuple(
        GuessedUpdate(originals[update], guesses[update], guesses[(update + 1) % updates])
        for update in range(updates)
    )
    return _Trial(attack, setting, compare_pictures(guessed, known), guessed, rows.flatten())


def _slug(setting: UpdateSetting) -> str:
    """Return a setting's title as a name of files."""
    return "".join(letter if letter.isalnum() else "-" for letter in setting.title)


def _guess(
    job: LeakJob,
    attack: LeakageAttack,
    setting: UpdateSetting,
    public: Dataset,
    rows: NDArray[np.int64],
    kept: Checkpoints,
) -> Floats:
    """Return the pictures (k, *S) that an attack guesses, or what is kept of them."""
    done = kept.loop("guess")
    if not done.step:
        x, y = job.members.batch(rows)
        assert isinstance(job.target.model, Classifier)
        net = job.target.model.net
        view = UpdateView(
            net,
            setting.answer(net, x, y, seed=derive_seed(job.seed, "updates", int(rows[0]))),
            access="sum" if setting.sites > 1 else "update",
            local=setting.local,
            sites=setting.sites,
            examples=setting.examples,
            choose=getattr(attack, "chooses_net", False),
            max_rounds=min(job.budget, MAX_ROUNDS),
        )
        ids = torch.arange(len(rows))
        guess = with_checkpoints(attack.guess, kept)(
            view,
            Knowledge(public=public),
            # labels are not known
            Candidates(torch.full((len(rows),), -1), ids, job.members.shape),
            budget=min(job.budget, MAX_ROUNDS),
            seed=derive_seed(job.seed, "invert", int(rows[0])),
            progress=job.progress,
        )
        if guess.images is None:
            raise ModelError(f"{attack.name} returned no images; expected some in its guess, or none of them")
        images = guess.images.detach().cpu().float()
        done.save(1, {"images": images})
        return images.numpy()
    return done.state["images"].numpy()


def _measurements(job: LeakJob, trial: _Trial, known: KnownPictures) -> Iterator[LeakMeasurement]:
    """Yield how many pictures were rebuilt, and how near guesses are by each quality."""
    hits = trial.judged.is_reconstructed()
    gains = trial.judged.qualities - trial.judged.baselines
    exposed = [int(trial.rows[one]) for one in np.argsort(-gains, kind="stable") if hits[one]]
    judgments = [judge_reconstructed(trial.judged)]
    for quality in QUALITIES:
        judged = trial.judged if quality == "psnr" else compare_pictures(trial.updates, known, quality)
        judgments.append(judge_quality(judged))
    for number, judgment in enumerate(judgments):
        record = to_measurement(
            job,
            trial.attack,
            judgment,
            access="sum" if trial.setting.sites > 1 else "update",
            candidates=trial.setting.case,
            count=len(trial.rows) if judgment.unit == "image" else len(trial.updates),
            queries=1.0,
            exposed=() if number else tuple(exposed),
        )
        yield replace(record, model=trial.setting.title)


def _pictures(job: LeakJob, number: int, trial: _Trial, known: KnownPictures) -> Iterator[LeakPictures]:
    """Yield the picture whose guess gains most, over all updates and pictures of a setting."""
    best = trial.judged.most_exposed
    if not job.show or job.folder is None or trial.judged.guess_rows[best] < 0:
        return
    indices = trial.judged.update_indices
    update = trial.updates[indices[best]]
    row = int((indices[:best] == indices[best]).sum())
    original, guess = update.originals[row], update.guesses[trial.judged.guess_rows[best]]
    values, images = known.best(original[None])
    leaks = bool(trial.judged.is_reconstructed()[best])
    pictures: tuple[tuple[str, Floats, str, PictureFrame], ...] = (
        ("original", original, "the original", ""),
        ("guess", guess, f"rebuilt, {trial.judged.qualities[best]:.1f} dB", "bad" if leaks else "good"),
        ("known", images[0], f"known without it, {values[0]:.1f} dB", "reference"),
    )
    stored = [
        store_picture(job.folder, f"pictures-{number}-{name}", torch.from_numpy(np.array(image)), text, frame)
        for name, image, text, frame in pictures
    ]
    yield LeakPictures(f"{trial.attack.name}, {trial.setting.title}", *stored)


def _notes(job: LeakJob, trials: Sequence[_Trial]) -> Iterator[str]:
    """Yield what the numbers say, and no more."""
    for attack in job.attacks:
        own = [one for one in trials if one.attack is attack]
        gives = [one for one in own if one.num_reconstructed]
        holds = [one for one in own if not one.num_reconstructed]
        if gives:
            listed = "; ".join(f"{one.setting.title} ({one.count_text})" for one in gives)
            yield f"{attack.name} rebuilds pictures under: {listed}."
        if gives and holds:
            listed = "; ".join(f"{one.setting.title} ({one.count_text})" for one in holds)
            yield (
                f"It rebuilds none under: {listed}. That this attack fails proves nothing; noise alone "
                "carries a guarantee."
            )
        if own and not gives:
            yield (
                f"{attack.name} rebuilds nothing in any setting, without a defense either: that says nothing "
                "about the defenses."
            )
        if gives and not any(one.setting.is_realistic for one in gives):
            yield (
                f"All that {attack.name} rebuilds are worst cases, of one picture a site or one local step."
            )


def _settings(job: LeakJob, net: nn.Module, settings: Sequence[UpdateSetting]) -> dict[str, object]:
    """Return what all guesses depend on."""
    return {
        "quintain": __version__,
        "torch": torch.__version__,
        "model": fingerprint(net),
        "members": job.members.hash,
        "others": job.others.hash,
        "attacks": [repr(one) for one in job.attacks],
        "settings": [repr(one) for one in settings],
        "budget": job.budget,
        "candidates": job.candidates,
        "seed": job.seed,
    }
