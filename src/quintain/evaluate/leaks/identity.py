"""Measure whose face a model gives away: one picture of each class, ranked among private and public people.

Each class of the target is a person. The judge knows these people from other pictures than the target was
trained on, and the attacker knows pictures of other people alone.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from quintain.core.errors import ModelError
from quintain.core.limits import require_at_least
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.evaluate.images import drawable, store_picture
from quintain.evaluate.leaks.claims import above, count_levels
from quintain.evaluate.leaks.inputs import access_of, open_view
from quintain.evaluate.leaks.job import LeakFindings, LeakJob
from quintain.evaluate.leaks.measurement import to_measurement
from quintain.evaluate.leaks.people import People
from quintain.leakage.attack import Candidates, LeakageAttack
from quintain.leakage.identity.baselines import PUBLIC, baseline_pictures
from quintain.leakage.judges.identity import FIRST, IdentityJudge, IdentityScores, train_judge
from quintain.leakage.judges.judge_net import JudgeRecipe
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.view import ModelView
from quintain.results.leak_records import LeakMeasurement, LeakPictures, name_of_title
from quintain.results.quantity import Metric

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
    for attack in job.attacks:
        access_of(job, attack, job.target.model)
    people = People.of(job)
    return measure_people(job, people, people_judge(job, people))


def people_judge(job: LeakJob, people: People) -> IdentityJudge:
    """Train the judge of a job, by the seed; it knows nothing of the target."""
    return train_judge(
        people.training(),
        people.others(),
        people.public(),
        seed=derive_seed(job.seed, "identity", "judge"),
        train=lambda x, y, seed: JUDGE(x, y, seed, progress=job.progress),
    )


def measure_people(job: LeakJob, people: People, judge: IdentityJudge) -> LeakFindings:
    """Measure as ``measure`` does, with a judge that is there already, as where targets are compared."""
    numbers = people.candidates(job.candidates, seed=job.seed)
    labels, private = torch.tensor([people.classes[number] for number in numbers]), torch.tensor(numbers)
    candidates = Candidates(y=labels, ids=labels, shape=job.members.shape)
    found: list[LeakMeasurement] = []
    pictures: list[LeakPictures] = []
    notes = [_people_note(people), _judge_note(judge, len(people.classes))]
    for attack in job.attacks:
        images, queries = _guess(job, attack, people.public_data, candidates)
        access = access_of(job, attack, job.target.model)
        baselines = baseline_pictures(
            ModelView(job.target.model, access=access),
            people.public_data,
            candidates,
            budget=job.budget,
            seed=job.seed,
        )
        scores = judge.score(images, private)
        known = np.flatnonzero(scores.hits[FIRST])
        surest = known[np.argsort(-scores.picture_psnr[known], kind="stable")]
        measured = [
            to_measurement(
                job,
                attack,
                judgment,
                access=access,
                candidates=f"people of {job.members.name}",
                count=len(candidates),
                queries=queries,
                exposed=tuple(int(labels[one]) for one in surest),
            )
            for judgment in judge.judge(images, private, baselines)
        ]
        # The first measure, who is ranked first, bounds the claim on people identified.
        levels = above(count_levels(len(known), len(candidates)), measured[0].baseline)
        found += [replace(measured[0], metric=Metric.REIDENTIFIED, lower=levels), *measured[1:]]
        notes.append(_picture_note(attack, scores, judge.score(baselines[PUBLIC], private)))
        if job.show and job.folder is not None and drawable(job.members.shape):
            pictures += _pictures(
                job.folder, job, attack, judge, images, baselines[PUBLIC], scores, candidates
            )
    return LeakFindings(tuple(found), tuple(pictures), tuple(notes))


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


def _people_note(people: People) -> str:
    """Say what is taken for a person, which nothing but the reader can judge: by numbers, for names of
    private people stay out of records.
    """
    members, public = people.members, people.public_data
    numbers = ", ".join(map(str, people.classes[:5]))
    return (
        f"Each of the {len(people.classes)} classes of {members.name} ({numbers}"
        f"{' ...' if len(people.classes) > 5 else ''}) is taken for one person, and each of the "
        f"{len(set(public.labels.tolist()))} of {public.name} for another."
    )


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
        f"{np.mean(public.picture_psnr):.1f} and {np.mean(public.mean_psnr):.1f} dB. In the judge's features "
        f"the nearest training picture of the person is {scores.private_distance.mean():.2f} times as far as "
        "the nearest public picture."
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
        stem = f"leak-{name_of_title(job.target.title)}-{attack.name}-{label}"
        person = f"class {label}"  # without the name, which the record would keep
        rank = int(scores.ranks[one])
        yield LeakPictures(
            title=f"{person}, {job.target.title}",
            original=store_picture(
                folder,
                f"{stem}-original",
                judge.training[0][scores.nearest[one]],
                f"{person}: nearest training picture",
                "reference",
            ),
            reconstructed=store_picture(
                folder,
                f"{stem}-made",
                images[one],
                f"{attack.name} on {job.target.title}: rank {rank} of {judge.people}",
                "bad" if rank == 1 else "",
            ),
            baseline=store_picture(folder, f"{stem}-baseline", baseline[one], PUBLIC),
        )
