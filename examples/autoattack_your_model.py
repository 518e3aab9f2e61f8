"""AutoAttack on your own net, on the examples that a proof leaves open. With weights in a file, the command
line does the same without the proof:

quintain attack --model examples/autoattack_your_model.py:make --weights w.safetensors --threat linf:6/255
--attack autoattack
"""

from collections import Counter

import torch
from torch import nn

import quintain as q


def make() -> nn.Module:
    """Return your net: its inputs are in [0, 1], so normalization, if any, is its first layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 2))


def main() -> None:
    """Train the net for a moment, certify what can be certified, and attack the rest."""
    data = q.load_data("xrays")
    net = make()
    q.harden.fit(
        net,
        data.split("train"),
        q.harden.IBPTraining(q.Linf(2 / 255), q.training.Recipe(5, batch_size=64, learning_rate=3e-3)),
    )

    model = q.Classifier(net.eval())
    x, y = data.split("test").batch(torch.arange(100))
    threat = q.Linf(6 / 255)
    certificates = q.certify.IntervalBounds()(model, x, y, threat)
    outcome = q.attacks.AutoAttack()(model, x, y, threat, seed=0, certified=certificates.certified)

    lower, upper = certificates.certified.float().mean(), 1 - outcome.success.float().mean()
    print(
        f"robust accuracy at {threat.spec}: at least {lower:.0%} (certified), at most {upper:.0%} (attacked)"
    )
    for name, count in Counter(filter(None, outcome.found_by)).most_common():
        print(f"{count} broken by {name}")
    print(
        f"{outcome.forwards.float().mean():.0f} queries and {outcome.backwards.float().mean():.0f} "
        "gradients per X-ray"
    )


if __name__ == "__main__":
    main()
