"""Patient Zero: faces of the people whom a model was trained on, from its answers alone.

The faces are drawn by numbers, so that the example needs no one's pictures: none of these people exists.
"""

from torch import nn

import quintain as q
from quintain.data import draw_faces
from quintain.evaluate.leaks.identity import measure
from quintain.evaluate.leaks.job import LeakJob, LeakTarget
from quintain.leakage import InversionGradient, InversionLabels, InversionScores
from quintain.models import initialize

PRIVATE, PUBLIC = range(8), range(8, 48)


def main() -> None:
    """Train a net on eight people, and make a face of each class."""
    members = draw_faces(PRIVATE, range(10), name="private people")
    net = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 100), nn.ReLU(), nn.Linear(100, len(PRIVATE)))
    q.training.fit(initialize(net, 0), members, q.training.Recipe(40, batch_size=10))
    model = q.Classifier(net.eval(), num_classes=len(PRIVATE))

    found = measure(
        LeakJob(
            LeakTarget(model, "plain"),
            (InversionGradient(), InversionScores(), InversionLabels()),
            members,
            # The judge alone sees these: other pictures of the same people.
            draw_faces(PRIVATE, range(10, 14), name="other pictures"),
            # The attacker knows these: pictures of other people.
            public=draw_faces(PUBLIC, range(4), name="public people"),
            budget=1000,
        )
    )
    for one in found.measurements:
        print(
            f"{one.attack}, {one.queries:.0f} queries: {one.measure}: {one.value:.0%} of {one.count} "
            f"({one.low:.0%} to {one.high:.0%}), without the model {one.baseline:.0%} ({one.baseline_name})"
        )
    for note in found.notes:
        print(note)


if __name__ == "__main__":
    main()
