"""Attacks and bounds of other libraries beside ours, on the same models, pictures, scores and coins.

- Membership: mislabeled X-rays, told by ours, by the Adversarial Robustness Toolbox (ART) and by Privacy
  Meter, with the same target and the same shadow models.
- Model inversion: ORL faces, by gradients, ours and ART's ``MIFace``, ranked by one judge.
- One-run bounds on epsilon of an ideal Gaussian mechanism, ours and Opake's, and alarms at nothing.

The peers need an environment of their own, with this project in it::

    pip install adversarial-robustness-toolbox opake-auditing
    pip install privacy-meter tensorflow-cpu opacus seaborn

(Privacy Meter imports the others of its line and requires none). A peer that is missing is said to be.
Seconds are those of the processor, since the machine may be shared.
"""

import os
from collections.abc import Iterator
from importlib.util import find_spec

from benchmarks.harness import Comparison
from benchmarks.leakage import peers_bounds, peers_membership, peers_people

INSTALL = {
    "art": "pip install adversarial-robustness-toolbox",
    "privacy_meter": "pip install privacy-meter tensorflow-cpu opacus seaborn",
    "opake": "pip install opake-auditing",
}
"""How each peer is installed, by what is imported."""


def run() -> Iterator[Comparison]:
    """Yield a line for each attack or bound, ours first."""
    yield Comparison("load of the machine", ", ".join(f"{one:.1f}" for one in os.getloadavg()))
    found = {name for name in INSTALL if find_spec(name) is not None}
    for name, how in INSTALL.items():
        if name not in found:
            yield Comparison(name, f"not installed: {how}")
    yield from peers_bounds.run(found)
    yield from peers_people.run(found)
    yield from peers_membership.run(found)
    yield Comparison("load of the machine", ", ".join(f"{one:.1f}" for one in os.getloadavg()))
