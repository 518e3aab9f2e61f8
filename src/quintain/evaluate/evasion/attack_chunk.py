"""Run one attack at one threat on some examples, and bisect its breaks towards the clean examples."""

import time

import numpy as np
import torch
from torch import Tensor

from quintain.attacks.goal import Goal
from quintain.attacks.minimum_norm.refinement import bisect_to_boundary
from quintain.attacks.outcome import Model
from quintain.attacks.search import Search
from quintain.evaluate.evasion.checkpoint import Chunk
from quintain.evaluate.evasion.job import AttackFn, AttackJob
from quintain.models.protocol import ClassifierLike
from quintain.threats.parametric import ParametricThreat
from quintain.threats.rng import example_rng
from quintain.threats.threat import Threat


def attack_chunk(
    job: AttackJob,
    model: ClassifierLike,
    attack: AttackFn,
    threat: Threat,
    x: Tensor,
    y: Tensor,
    rows: np.ndarray,
    part: slice,
) -> Chunk:
    """Run one attack at one threat on a part of a batch, and bisect its breaks towards the clean examples.

    Args:
        job: The settings of the run.
        model: The model under attack.
        attack: The attack.
        threat: What may be changed.
        x, y: Examples (n, *S) and their true classes (n,).
        rows: Their rows in the data set (n,).
        part: Which of them are attacked.
    """
    x, y, rows = x[part], y[part], rows[part]
    targets = None if job.target_class is None else torch.full_like(y, job.target_class)
    options: dict[str, object] = {} if job.max_queries is None else {"max_queries": job.max_queries}
    options |= {} if targets is None else {"targets": targets}
    started = time.perf_counter()
    outcome = attack(model, x, y, threat, seed=job.seed, ids=torch.from_numpy(rows), **options)
    seconds = time.perf_counter() - started
    success, broken = outcome.success, outcome.success.cpu().numpy()
    size = outcome.size.double().cpu().numpy()
    radius, bisection_queries = size.copy(), np.zeros(len(rows), np.int64)
    # No bisection for a minimum-norm attack, which keeps the smallest break itself; in a parametric threat,
    # which does not allow the images in between; and with a query limit, which it would exceed.
    bisects = not getattr(attack, "minimum_norm", False) and not isinstance(threat, ParametricThreat)
    if broken.any() and job.max_queries is None and bisects:
        smaller, queries = minimize_by_bisection(
            model,
            x[success],
            y[success],
            outcome.adversarial[success],
            threat,
            targets=None if targets is None else targets[success],
        )
        radius[broken], bisection_queries[broken] = smaller.cpu().numpy(), queries.cpu().numpy()
    params = x.new_zeros(len(x), 0) if outcome.params is None else outcome.params
    unsaid = torch.full((2, len(x)), torch.inf, dtype=torch.float64)
    sizes = unsaid if outcome.smallest_sizes is None else outcome.smallest_sizes
    return Chunk(
        rows=rows,
        broken=broken,
        invalid=outcome.error.cpu().numpy(),
        size=size,
        radius=radius,
        forwards=outcome.forwards.cpu().numpy(),
        backwards=outcome.backwards.cpu().numpy(),
        queries_to_success=outcome.queries_to_success.cpu().numpy(),
        bisection_queries=bisection_queries,
        smallest_sizes=sizes.T.cpu().numpy(),
        found_by=np.array(outcome.found_by, dtype=np.str_),
        seconds=seconds,
        kept=rows[broken],
        images=outcome.adversarial[success].detach().cpu().float().numpy(),
        params=params[success].detach().cpu().float().numpy(),
    )


def minimize_by_bisection(
    model: Model, x: Tensor, y: Tensor, z: Tensor, threat: Threat, *, targets: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Return the sizes (B,) float64 of smaller breaks between ``x`` and ``z``, and the queries (B,).

    .. math:: \min \{\, size(x + t (z - x)) : t \in [0, 1],\; f(x + t (z - x)) \text{ is a break} \,\}

    by bisection over t, which finds one of the places where the line crosses the decision boundary. The point
    that is found is queried once more; where it does not break the model then, the size is that of ``z``.

    Args:
        model: Gives logits (B, K).
        x: Clean inputs (B, *S).
        y: True classes (B,).
        z: Points that break the model (B, *S).
        threat: Measures the change, and gives the data box.
        targets: Target classes (B,); any wrong class if not given.
    """
    search = Search(
        model, x, Goal(y, targets), threat, example_rng(x, 0), name="bisection", minimum_norm=True
    )
    rows = search.active_rows
    search.query(z[rows], rows)
    bisect_to_boundary(search, rows)
    outcome, full_size = search.outcome(), threat.measure(z, x)
    return torch.where(outcome.success, torch.minimum(outcome.size, full_size), full_size), outcome.forwards
