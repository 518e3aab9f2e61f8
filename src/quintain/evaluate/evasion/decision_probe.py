"""Walk along the boundary from labels alone, where attacks with gradients may have been led astray."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from quintain.attacks.decision_based.hopskipjump import HopSkipJump
from quintain.core.threat_specs import threat_name
from quintain.evaluate.evasion.probes import ProbeSet, indicator, whole_box_threat
from quintain.results.robustness_records import Indicator

NUM_WALKED = 5
"""How many examples are walked for."""

WALK_QUERIES = 1800
"""Queries for each of them: so many beat gradient attacks that go astray on nets trained with bounds."""

SHRINK = 0.9
"""A change of less than this fraction of the one that a minimum-norm attack found is a smaller one."""


def decision_based(probes: ProbeSet, sizes: Tensor | None) -> Iterator[Indicator]:
    """Count the examples for which HopSkipJump beats what the attacks found.

    It beats them where it breaks an unbroken example, or where its change is below ``SHRINK`` of theirs. The
    value is the estimated fraction of all probed examples.

    Args:
        probes: Examples that are classified correctly; the model gives gradients.
        sizes: Sizes (n,) of the smallest changes that the attacks found, infinite where they broke nothing;
            None where no attack sought the smallest change, so that only unbroken examples are looked at.
    """
    if threat_name(probes.threat.spec) not in HopSkipJump.supports or not probes.threat.eps:
        return
    rows = torch.arange(len(probes.x)) if sizes is not None else probes.unbroken.nonzero().squeeze(1)
    rows = rows[:NUM_WALKED]
    # the whole box, so that an example whose smallest change is near eps is walked for in the same way
    whole = whole_box_threat(probes.threat, probes.x)
    if not len(rows) or whole is None:
        return
    some = replace(
        probes, x=probes.x[rows], y=probes.y[rows], ids=probes.ids[rows], unbroken=probes.unbroken[rows]
    )
    outcome = HopSkipJump(WALK_QUERIES)(
        some.model, some.x, some.y, whole, seed=some.draw("walk").seed, ids=some.ids
    )
    sizes_walked = outcome.size.to(some.x.device)
    inside = some.unbroken & (sizes_walked <= some.threat.eps)
    some.add_witnesses(HopSkipJump.name, outcome.success.to(inside.device) & inside, outcome.adversarial)
    walked = outcome.size.cpu()
    beaten = some.unbroken & (walked <= some.threat.eps)
    if sizes is not None:
        beaten |= ~some.unbroken & (walked < SHRINK * sizes[rows])
    many, eligible = int(beaten.sum()), len(probes.x) if sizes is not None else int(probes.unbroken.sum())
    yield indicator(
        "decision-based attack beats gradient attack",
        many / len(rows) * eligible / len(probes.x),
        # a search for the smallest change now and then ends in another optimum: one of five is no sign
        0.05 if sizes is None else 0.2,
        f"{WALK_QUERIES:,} queries for labels alone beat the attacks on {many} of {len(rows)} examples",
    )
