"""The registered defences."""

from quintain.core.registry import Entry

CATALOGUE = (
    Entry(
        "defence",
        "adversarial",
        "quintain.harden.adversarial:PGDTraining",
        "adversarial training against projected gradient ascent",
        guarantee="none; attacks show what it resists",
    ),
    Entry(
        "defence",
        "certified",
        "quintain.harden.interval:IntervalTraining",
        "training on the worst that interval bounds allow, eps and weight ramped up",
        guarantee="none of itself; interval bounds prove what holds afterwards",
    ),
    Entry(
        "defence",
        "smoothed",
        "quintain.harden.noise:NoiseTraining",
        "training under Gaussian noise, the base of a smoothed model",
        guarantee="none of itself; randomized smoothing certifies afterwards",
    ),
)
