"""Measure whose face a model gives away: one picture of each class, ranked among private and public people.

Each class of the target is a person. The judge knows these people from other pictures than the target was
trained on, and the attacker knows pictures of other people alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from quintain.core.errors import DataError, ModelError, SettingError
from quintain.core.limits import require_at_least
from quintain.core.seeds import derive_seed
from quintain.data.dataset import READ_BATCH_SIZE, Dataset
from quintain.evaluate.images import drawable, store_picture
from quintain.evaluate.leaks.inputs import access_of, open_view, require_comparable
from quintain.evaluate.leaks.job import LeakFindings, LeakJob
from quintain.evaluate.leaks.measurement import to_measurement
from quintain.leakage.attack import Candidates, LeakageAttack
from quintain.leakage.identity.baselines import PUBLIC, baseline_pictures
from quintain.leakage.judges.identity import FIRST, IdentityJudge, IdentityScores, Pictures, train_judge
from quintain.leakage.judges.judge_net import JudgeRecipe
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.view import ModelView
from quintain.results.leak_records import LeakMeasurement, LeakPictures

MIN_PEOPLE, MIN_PUBLIC_PEOPLE = 3, 3
"""People whom the target must know, and other people among whom they are ranked."""

MIN_ACCURACY = 0.6
"""A judge that ranks fewer pictures right than this says little, and a note says so."""

JUDGE = JudgeRecipe()
"""How judges are trained."""


def measure(job: LeakJob) -> LeakFindings:
    """Measure the attacks of the goal ``identity``.

    ``members`` has the pictures of the private people, one class each. ``others`` has other pictures of
    the same people, by which the judge knows them; ``public``, or what else ``others`` has under labels that
    no member has, are pictures of public people, under labels of their own. The attacker knows these alone.

    Raises:
        DataError: If a picture is in two of these groups, shapes differ, or people have no other picture.
        SettingError: If there are too few people, as where classes are no people, or an attack needs more
            access than it gets.
    """
    require_at_least(1, budget=job.budget, candidates=job.candidates)
    accesses = {attack.name: access_of(job, attack, job.target.model) for attack in job.attacks}
    people = People.of(job)
    judge = train_judge(
        people.training(),
        people.others(),
        people.public(),
        seed=derive_seed(job.seed, "identity", "judge"),
        train=lambda x, y, seed: JUDGE(x, y, seed, progress=job.progress),
    )
    numbers = people.candidates(job.candidates, seed=job.seed)
    candidates = Candidates(
        y=torch.tensor([people.classes[number] for number in numbers]),
        ids=torch.tensor([people.classes[number] for number in numbers]),
        shape=job.members.shape,
    )
    private = torch.tensor(numbers)
    found: list[LeakMeasurement] = []
    pictures: list[LeakPictures] = []
    notes = [_judge_note(judge, len(people.classes))]
    for attack in job.attacks:
        images, queries = _guess(job, attack, people.public_data, candidates)
        view = ModelView(job.target.model, access=accesses[attack.name])
        baselines = baseline_pictures(view, people.public_data, candidates, budget=job.budget, seed=job.seed)
        scores = judge.score(images, private)
        known = np.flatnonzero(scores.hits[FIRST])
        surest = known[np.argsort(-scores.picture_psnr[known], kind="stable")]
        found += [
            to_measurement(
                job,
                attack,
                judgment,
                access=accesses[attack.name],
                candidates=f"people of {job.members.name}",
                count=len(candidates),
                queries=queries,
                exposed=tuple(int(candidates.y[one]) for one in surest),
            )
            for judgment in judge.judge(images, private, baselines)
        ]
        notes.append(_picture_note(attack, scores, judge.score(baselines[PUBLIC], private)))
        if job.show and job.folder is not None and drawable(job.members.shape):
            pictures += _pictures(
                job.folder, job, attack, judge, images, baselines[PUBLIC], scores, candidates
            )
    return LeakFindings(tuple(found), tuple(pictures), tuple(notes))


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Who is private and who is public, with their pictures.

    Args:
        classes: Classes of the target that are people, ascending; the judge numbers them 0 ... k - 1.
        members: Pictures that the target was trained on.
        known: Other pictures of the same people.
        public_data: Pictures of other people, whom the judge numbers from k.
    """

    classes: tuple[int, ...]
    members: Dataset
    known: Dataset
    public_data: Dataset

    @classmethod
    def of(cls, job: LeakJob) -> "People":
        """Tell who is who in a job, see ``measure``."""
        classes = tuple(sorted(set(job.members.labels.tolist())))
        names = ", ".join(job.members.class_names[label] for label in classes[:5])
        if len(classes) < MIN_PEOPLE:
            raise SettingError(
                f"{job.members.name} has {len(classes)} classes ({names}); expected at least {MIN_PEOPLE}, "
                "each a person whose face the model may give away. Where classes are no people, measure "
                "another goal, such as membership"
            )
        if max(classes) >= job.target.model.num_classes:
            raise DataError(
                f"{job.members.name} has labels up to {max(classes)}; expected at most "
                f"{job.target.model.num_classes - 1}: {job.target.model.name} has "
                f"{job.target.model.num_classes} classes"
            )
        is_private = np.isin(job.others.labels, classes)
        public = job.public
        if public is None and not is_private.all():
            public = job.others.subset(np.flatnonzero(~is_private), name=f"{job.others.name}, public people")
        if public is None or len(set(public.labels.tolist())) < MIN_PUBLIC_PEOPLE:
            count = 0 if public is None else len(set(public.labels.tolist()))
            raise SettingError(
                f"{count} public people; expected at least {MIN_PUBLIC_PEOPLE}, whose pictures the attacker "
                f"knows and among whom those of {job.members.name} ({names} ...) are ranked: give examples "
                "of other people under labels that no training example has. Where classes are no people, "
                "measure another goal, such as membership"
            )
        missing = sorted(set(classes) - set(job.others.labels.tolist()))
        if missing:
            raise DataError(
                f"{job.others.name} has no picture of {len(missing)} people, such as class {missing[0]}; "
                "expected at least one each that the target was not trained on, by which the judge knows them"
            )
        known = job.others.subset(np.flatnonzero(is_private), name=f"{job.others.name}, private people")
        for first, second in ((job.members, known), (job.members, public), (known, public)):
            require_comparable(first, second)
        return cls(classes, job.members, known, public)

    def training(self) -> Pictures:
        """Return the target's training pictures."""
        return _read(self.members, {label: number for number, label in enumerate(self.classes)})

    def others(self) -> Pictures:
        """Return the private people's other pictures."""
        return _read(self.known, {label: number for number, label in enumerate(self.classes)})

    def public(self) -> Pictures:
        """Return the public people's pictures."""
        labels = sorted(set(self.public_data.labels.tolist()))
        return _read(
            self.public_data, {label: len(self.classes) + number for number, label in enumerate(labels)}
        )

    def candidates(self, count: int, *, seed: int) -> list[int]:
        """Return the numbers of the people who are sought, ascending: all, or some by the seed."""
        generator = np.random.default_rng(derive_seed(seed, "identity", "candidates"))
        return sorted(generator.permutation(len(self.classes))[:count].tolist())


def _read(data: Dataset, numbers: Mapping[int, int]) -> Pictures:
    """Return all pictures (n, *S), and the numbers of the people whom they show (n,)."""
    x = torch.cat([batch.x for batch in data.batches(READ_BATCH_SIZE)])
    return x, torch.tensor([numbers[label] for label in data.labels.tolist()])


def _guess(
    job: LeakJob, attack: LeakageAttack, public: Dataset, candidates: Candidates
) -> tuple[Tensor, float]:
    """Return an attack's pictures (n, *S), and its queries of each candidate."""
    guess = attack.guess(
        open_view(job, attack, job.target.model, max_queries=job.budget * len(candidates)),
        Knowledge(public=public, architecture=job.target.build),
        candidates,
        budget=job.budget,
        seed=derive_seed(job.seed, "identity"),
        progress=job.progress,
    )
    if guess.images is None or len(guess.images) != len(candidates):
        raise ModelError(f"{attack.name} returned no picture of each class; expected images in its guess")
    return guess.images.detach().cpu(), guess.queries


def _judge_note(judge: IdentityJudge, private: int) -> str:
    """Say how well the judge knows people."""
    text = (
        f"The judge, a net of its own trained on other pictures, ranks the right person first of "
        f"{judge.people} ({private} private, {judge.people - private} public) on {judge.accuracy:.0%} of "
        f"{judge.count} pictures that it had not seen."
    )
    if judge.accuracy < MIN_ACCURACY:
        text += (
            " It knows too few of them for its ranks to say much: give more other pictures of each person."
        )
    return text


def _picture_note(attack: LeakageAttack, scores: IdentityScores, public: IdentityScores) -> str:
    """Say whether what was made is nearer to a training picture or to the mean of them."""
    means = [float(np.mean(values)) for values in (scores.picture_psnr, scores.mean_psnr)]
    nearer = "the mean of the person's pictures" if means[1] > means[0] else "a training picture"
    return (
        f"{attack.name}: on average {means[0]:.1f} dB to the nearest training picture of the person and "
        f"{means[1]:.1f} dB to the mean of them, so nearer to {nearer}; {PUBLIC} is at "
        f"{np.mean(public.picture_psnr):.1f} and {np.mean(public.mean_psnr):.1f} dB."
    )


def _pictures(
    folder: Path,
    job: LeakJob,
    attack: LeakageAttack,
    judge: IdentityJudge,
    images: Tensor,
    baseline: Tensor,
    scores: IdentityScores,
    candidates: Candidates,
) -> Iterator[LeakPictures]:
    """Store for each class the nearest training picture, what the attack made, and the baseline."""
    for one, label in enumerate(candidates.y.tolist()):
        stem, person = f"leak-{attack.name}-{label}", job.members.class_names[label]
        rank = int(scores.ranks[one])
        yield LeakPictures(
            title=person,
            original=store_picture(
                folder,
                f"{stem}-original",
                judge.training[0][scores.nearest[one]],
                "nearest training picture",
                "reference",
            ),
            reconstructed=store_picture(
                folder,
                f"{stem}-made",
                images[one],
                f"{attack.name}: rank {rank} of {judge.people}",
                "bad" if rank == 1 else "",
            ),
            baseline=store_picture(folder, f"{stem}-baseline", baseline[one], PUBLIC),
        )
