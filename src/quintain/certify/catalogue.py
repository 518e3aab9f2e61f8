"""The registered certifiers."""

from quintain.core.registry import Entry

CATALOGUE = (
    Entry(
        "certifier",
        "interval",
        "quintain.certify.interval.certifier:IntervalBounds",
        "interval bounds through the layers, for Linf and L2",
        guarantee="deterministic: no input of the ball changes the answer of the model that runs, "
        "its float32 rounding included",
        facts=(("threats", "linf l2"), ("subject", "model")),
    ),
    Entry(
        "certifier",
        "smoothing",
        "quintain.certify.smoothing:SmoothedClassifier",
        "randomized smoothing: the most frequent class under Gaussian noise, for L2",
        guarantee="each example's radius is false with probability at most alpha over the noise samples",
        facts=(("threats", "l2"), ("subject", "smoothed classifier")),
    ),
)
