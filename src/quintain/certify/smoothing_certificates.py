"""Certificates of a smoothed classifier: votes on all examples in common batches, until each is decided."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from quintain.certify.noisy_votes import count_classes
from quintain.certify.outcome import CertificateOutcome
from quintain.certify.smoothing_evidence import Counts, Flags, Floats, RadiusTest, fixed_radius, looks
from quintain.certify.smoothing_noise import GAUSSIAN, Noise
from quintain.core.seeds import derive_seed
from quintain.models.protocol import ClassifierLike


@dataclass(frozen=True, slots=True)
class NoisyExamples:
    """Examples whose noisy copies a base model classifies.

    Args:
        model: The base model.
        x: Inputs (B, *S).
        ids: Their positions in the data set (B,): the noise of each follows from its id and the seed.
        seed: Of the noise.
        sigma: Its standard deviation.
        memory_format: In which copies are handed over.
        noise: Its law.
    """

    model: ClassifierLike
    x: Tensor
    ids: Tensor
    seed: int
    sigma: float
    memory_format: torch.memory_format
    noise: Noise = GAUSSIAN

    def generators(self, purpose: str) -> list[torch.Generator]:
        """Return the generator of each example's noise for one purpose."""
        seeds = (derive_seed(self.seed, purpose, number) for number in self.ids.tolist())
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    def count(self, rows: Counts, generators: list[torch.Generator], samples: int) -> tuple[Counts, Flags]:
        """Count the classes (n, K) of more copies of some examples (n,), and say whose outputs failed."""
        return count_classes(
            self.model,
            self.x[torch.from_numpy(rows).to(self.x.device)],
            [generators[row] for row in rows],
            samples,
            sigma=self.sigma,
            memory_format=self.memory_format,
            noise=self.noise,
        )


@dataclass(frozen=True, slots=True)
class Votes:
    """The votes on B examples.

    Args:
        hits: (B,), how many of the ``samples`` were classified as the label.
        samples: (B,), noisy copies that count; 0 where another class was selected.
        forwards: (B,), all noisy copies, those of the selection included.
        failed: (B,) bool, an output is not a number.
        proved: (B,), the largest requested radius that is certified; -inf for none.
        abstained: (B,), the largest requested radius that was not decided; 0 for none.
    """

    hits: Counts
    samples: Counts
    forwards: Counts
    failed: Flags
    proved: Floats
    abstained: Floats


def draw_votes(
    noisy: NoisyExamples,
    labels: Counts,
    selection_samples: int,
    test: RadiusTest,
    advance: Callable[[int], None],
) -> Votes:
    """Draw noisy copies of each example until every requested radius is decided.

    Without radii to decide, all ``max_samples`` are drawn.

    Args:
        noisy: The examples.
        labels: Their labels (B,).
        selection_samples: Copies, other than those that count, of which most must be classified as the label.
        test: Decides.
        advance: Told of examples that are done.
    """
    total, radii = len(labels), np.array(test.radii)
    hits, samples, forwards = (np.zeros(total, dtype=np.int64) for _ in range(3))
    failed, certified = np.zeros(total, dtype=bool), np.zeros((total, len(radii)), dtype=bool)
    abstained = np.zeros(total)
    rows = np.arange(total)
    if total:
        # CERTIFY of Cohen et al.: the selection chooses the class, and fresh samples bound its probability;
        # using the same ones for both would invalidate the bound.
        counts, failed = noisy.count(rows, noisy.generators("selection"), selection_samples)
        forwards += selection_samples
        rows = rows[~failed & (counts.argmax(1) == labels)]
        advance(total - len(rows))
    generators = noisy.generators("count")
    most = test.max_misses()
    # Looks at the same numbers of samples for all examples: none depends on what it shares a batch with.
    for look in looks(test.max_samples) if len(radii) else [test.max_samples]:
        if not len(rows):
            break
        counts, lost = noisy.count(rows, generators, look - int(samples[rows[0]]))
        forwards[rows] += look - samples[rows]
        samples[rows] = look
        hits[rows] += counts[np.arange(len(rows)), labels[rows]]
        failed[rows] = lost
        # Many examples have equally many hits, and each number is decided once.
        numbers, which = np.unique(hits[rows], return_inverse=True)
        certified[rows] |= test.certifies(numbers, look)[which]
        hopeless = (look - hits[rows])[:, None] > most
        decided = certified[rows] | test.refuses(numbers, look)[which]
        # A radius that is refused takes the greater ones with it.
        decided = np.logical_or.accumulate(decided & ~certified[rows], axis=1) | certified[rows]
        ended = lost | (look == test.max_samples) | ((decided | hopeless).all(1) & bool(len(radii)))
        abstained[rows[ended]] = np.where(decided, 0.0, radii).max(1, initial=0.0)[ended]
        advance(int(ended.sum()))
        rows = rows[~ended]
    proved = np.where(certified, radii, -np.inf).max(1, initial=-np.inf)
    return Votes(
        hits=hits,
        samples=samples,
        forwards=forwards,
        failed=failed,
        proved=proved,
        abstained=np.where(failed, 0.0, abstained),
    )


def certificate_outcome(
    votes: Votes, test: RadiusTest, eps: float, device: torch.device
) -> CertificateOutcome:
    """Return what the votes prove, about the balls of radius ``eps``."""
    if test.radii:
        # The votes at the end prove a radius, and those of an earlier look may have proved an asked one: it
        # was tested a billionth above itself.
        pairs = np.stack([votes.hits, np.maximum(votes.samples, 1)])
        (hits, samples), which = np.unique(pairs, axis=1, return_inverse=True)
        found = test.radius(hits, samples)[which.reshape(-1)]
        found = np.maximum(found, np.nextafter(votes.proved, np.inf))
    else:
        counts = zip(votes.hits.tolist(), votes.samples.tolist(), strict=True)
        found = np.array([fixed_radius(*count, test.alpha, test.sigma, test.noise) for count in counts])
    counted = (votes.samples > 0) & ~votes.failed
    signed_radius = torch.from_numpy(np.where(counted, found, -np.inf))
    # At distance eps the probability of y is still at least that which proves what is left of the radius, and
    # that of any other class at most the rest.
    gap = test.noise.gap((signed_radius - eps) / (test.sigma * test.noise.unit))
    margin = torch.where(signed_radius.isneginf(), signed_radius, gap)
    return CertificateOutcome(
        certified=(margin > 0).to(device),
        margin=margin.to(device),
        radius=signed_radius.clamp(min=0).to(device),
        forwards=torch.from_numpy(votes.forwards).to(device),
        assumptions=(
            f"each example's certificate is false with probability at most {test.alpha:g} "
            f"over up to {test.max_samples:,} {test.noise.title} noise samples",
            f"noise drawn as float32 stands for exact {test.noise.title} noise; check that the base model "
            "does not read its inputs' last bits",
            "each noisy copy is answered by itself, as the first examples and a noisy copy of each were, "
            "alone and in one batch; "
            "check that no answer changes with the rest of its batch (quintain check)",
            "the claim is about the exact vote, which predictions estimate by sampling; check deployed "
            "answers with predict",
        ),
        failed=torch.from_numpy(votes.failed).to(device),
        abstained_radius=torch.from_numpy(votes.abstained).to(device),
    )
