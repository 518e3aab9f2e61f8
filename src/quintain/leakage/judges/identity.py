"""Whose picture an attack made of a class: a net that knows private and public people tells, trained apart.

Where only private people are known, any picture is one of them: over ten people alone a public picture that
the model likes is "identified" most of the time. All people are ranked together, therefore.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quintain.core.errors import DataError
from quintain.core.statistics import binomial_interval, psnr
from quintain.leakage.attack import LeakJudgment
from quintain.leakage.judges.judge_net import JudgeNet

Pictures = tuple[Tensor, Tensor]
"""Pictures (n, *S) and the people whom they show (n,): private ones from 0, public ones after them."""

FIRST, TOP_5 = "rank 1", "top 5"
GUESSING = "guessing"
NEAREST_PICTURE, NEAREST_MEAN = "nearest training picture", "nearest mean picture"

HITS: Mapping[str, str] = {
    FIRST: "the judge takes the picture for the person of the class",
    TOP_5: "the person of the class is among the five likeliest for the judge",
    NEAREST_PICTURE: "of all pictures, one that the person was trained on is nearest in the judge's features",
    NEAREST_MEAN: "of all people's mean pictures, the person's own is nearest in pixels",
}
"""Measures, each a fraction of the candidates, and what counts as a hit."""


@dataclass(frozen=True, slots=True)
class IdentityScores:
    """How near pictures come to the people whom they are meant to show; n of them.

    Args:
        ranks: Rank (n,) of the right person among all, 1 the likeliest; equals count against the picture.
        hits: For each measure, whether each picture is a hit (n,).
        picture_psnr: PSNR (n,) to the nearest of the person's training pictures, dB.
        mean_psnr: PSNR (n,) to the mean of these, dB.
        nearest: Number (n,) of that nearest training picture.
        private_distance: Distance (n,) to the person's nearest training picture in the judge's features, as a
            multiple of that to the nearest picture of the public.
    """

    ranks: NDArray[np.int64]
    hits: Mapping[str, NDArray[np.bool_]]
    picture_psnr: NDArray[np.float64]
    mean_psnr: NDArray[np.float64]
    nearest: NDArray[np.int64]
    private_distance: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class IdentityJudge:
    """Ranks all people for a picture, by a net that saw none of the target's training pictures.

    Args:
        net: The net.
        accuracy: Fraction of pictures held out, private and public, whose person it ranks first.
        count: Number of these.
        training: The target's training pictures.
        public: Pictures of public people.
    """

    net: JudgeNet
    accuracy: float
    count: int
    training: Pictures
    public: Pictures

    @property
    def people(self) -> int:
        """Number of people, private and public."""
        return self.net.people

    def score(self, images: Tensor, y: Tensor) -> IdentityScores:
        """Score pictures (n, *S) that are meant to show private people (n,).

        Raises:
            DataError: If there is not one picture for each, or of another shape.
        """
        known, owners = (
            torch.cat([self.training[0], self.public[0]]),
            torch.cat([self.training[1], self.public[1]]),
        )
        if images.shape != (len(y), *known.shape[1:]) or not bool(images.isfinite().all()):
            raise DataError(
                f"pictures of shape {tuple(images.shape)} of {len(y)} people; expected finite ones of shape "
                f"{(len(y), *known.shape[1:])}, one a person"
            )
        logits = self.net.logits(images)
        own = logits.gather(1, y[:, None])
        # The person herself is one of those that reach her own logit.
        ranks = (logits >= own).sum(1)
        distances = torch.cdist(self.net.features(images), self.net.features(known))
        by_features = distances.argmin(1)
        own_distance = distances.masked_fill(owners[None] != y[:, None], torch.inf).amin(1)
        public_distance = distances[:, len(self.training[1]) :].amin(1)
        people = torch.arange(self.people)
        means = torch.stack([known[owners == person].double().flatten(1).mean(0) for person in people])
        flat, training = images.double().flatten(1), self.training[0].double().flatten(1)
        by_means = torch.cdist(flat, means).argmin(1)
        # Pictures of others are no candidates for the nearest of the person's own.
        errors = (flat[:, None] - training[None]).square().mean(2)
        errors = errors.masked_fill(self.training[1][None] != y[:, None], torch.inf)
        nearest = errors.argmin(1)
        mean_errors = (flat - means[y]).square().mean(1)
        return IdentityScores(
            ranks=ranks.numpy(),
            hits={
                FIRST: (ranks == 1).numpy(),
                TOP_5: (ranks <= 5).numpy(),
                NEAREST_PICTURE: (owners[by_features] == y).numpy(),
                NEAREST_MEAN: (by_means == y).numpy(),
            },
            picture_psnr=np.array([psnr(float(error)) for error in errors.amin(1)]),
            mean_psnr=np.array([psnr(float(error)) for error in mean_errors]),
            nearest=nearest.numpy(),
            private_distance=(own_distance / public_distance.clamp_min(1e-12)).double().numpy(),
        )

    def chance(self, measure: str, y: Tensor) -> float:
        """Return the fraction of hits of whoever names a person, or a picture, at random."""
        if measure == NEAREST_PICTURE:
            own = (self.training[1][None] == y[:, None]).sum(1).double().mean()
            return float(own) / (len(self.training[1]) + len(self.public[1]))
        return min(5 if measure == TOP_5 else 1, self.people) / self.people

    def judge(
        self, images: Tensor, y: Tensor, baselines: Mapping[str, Tensor], *, confidence: float = 0.95
    ) -> tuple[LeakJudgment, ...]:
        """Judge the pictures of an attack beside those of baselines, one a candidate, as the attack's own.

        Each measure is a fraction of the candidates, with its Clopper-Pearson interval: over people such as
        these and attacks such as this, with the target as it is. The baseline is the best of all that are
        given and of guessing, measure by measure, which favors it.

        Args:
            images: (n, *S) in [0, 1].
            y: The private person that each is meant to show (n,).
            baselines: Pictures (n, *S) by the name of what made them.
            confidence: Of the intervals.

        Raises:
            DataError: If pictures are of another number or shape, or there is no baseline.
        """
        if not baselines:
            raise DataError("no baseline; expected at least one, such as the mean of the public pictures")
        scores = self.score(images, y)
        others = {name: self.score(pictures, y) for name, pictures in baselines.items()}
        judgments = []
        for measure in HITS:
            hits = scores.hits[measure]
            fractions = {name: float(one.hits[measure].mean()) for name, one in others.items()}
            fractions[GUESSING] = self.chance(measure, y)
            best = max(fractions, key=lambda name: fractions[name])
            low, high = binomial_interval(int(hits.sum()), len(hits), confidence)
            judgments.append(
                LeakJudgment(
                    measure=f"{measure} of {self.people}" if measure in (FIRST, TOP_5) else measure,
                    value=float(hits.mean()),
                    low=low,
                    high=high,
                    baseline=fractions[best],
                    baseline_name=best,
                    unit="person",
                    confidence=confidence,
                    per_example=tuple((1 / scores.ranks).tolist()),
                )
            )
        return tuple(judgments)


Trainer = Callable[[Tensor, Tensor, int], JudgeNet]
"""From pictures (n, *S), the people whom they show (n,) and a seed to a trained net."""


def train_judge(
    training: Pictures, others: Pictures, public: Pictures, *, seed: int, train: Trainer
) -> IdentityJudge:
    """Train a judge on other pictures of the private people, and on as many of each public person.

    Its accuracy is measured on all that it did not see: the target's training pictures, and the public
    people's other ones.

    Args:
        training: What the target was trained on; the people are numbered 0 ... k - 1.
        others: Other pictures of each of these people.
        public: Pictures of other people, numbered from k; each has more than one.
        seed: Of the net and of its training.
        train: Trains the net.

    Raises:
        DataError: If a person has no picture where one is needed.
    """
    private = int(training[1].max()) + 1
    people = int(public[1].max()) + 1
    for name, (_, owners), expected in (
        ("training pictures", training, range(private)),
        ("other pictures", others, range(private)),
        ("public pictures", public, range(private, people)),
    ):
        missing = sorted(set(expected) - set(owners.tolist()))
        if missing or set(owners.tolist()) - set(expected):
            raise DataError(f"{name} of people {sorted(set(owners.tolist()))}; expected {list(expected)}")
    counts = torch.bincount(others[1], minlength=private)
    # Public people get as many pictures as private ones have, so that the judge prefers neither.
    most = max(1, int(counts.double().mean().round()))
    taken = torch.zeros(len(public[1]), dtype=torch.bool)
    for person in range(private, people):
        rows = (public[1] == person).nonzero().squeeze(1)
        generator = torch.Generator().manual_seed(seed + person)
        taken[rows[torch.randperm(len(rows), generator=generator)[: min(most, max(1, len(rows) - 1))]]] = True
    net = train(torch.cat([others[0], public[0][taken]]), torch.cat([others[1], public[1][taken]]), seed)
    x, y = torch.cat([training[0], public[0][~taken]]), torch.cat([training[1], public[1][~taken]])
    accuracy = float((net.logits(x).argmax(1) == y).double().mean())
    return IdentityJudge(net, accuracy, len(y), training, public)
