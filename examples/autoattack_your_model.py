"""AutoAttack on your own net, on what a proof leaves open. With weights in a file the command line does as
much:

quintain attack --model examples/autoattack_your_model.py:make --weights w.safetensors --threat linf:6/255
--attack autoattack
"""

from collections import Counter

import torch
from torch import nn

import quintain as q


def make() -> nn.Module:
    """Your net: inputs are in [0, 1], so that any normalization is its first layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 2))


def main() -> None:
    """Train it for a moment, prove what can be proved, attack the rest, and say what broke what."""
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
    proved = q.certify.IntervalBounds()(model, x, y, threat)
    outcome = q.attacks.AutoAttack()(model, x, y, threat, seed=0, certified=proved.certified)

    left = 1 - outcome.success.float().mean()
    print(
        f"{threat.spec}: proved {proved.certified.float().mean():.0%} <= true <= {left:.0%} after AutoAttack"
    )
    for name, count in Counter(filter(None, outcome.found_by)).most_common():
        print(f"{count} broken by {name}")
    print(
        f"{outcome.forwards.float().mean():.0f} questions and {outcome.backwards.float().mean():.0f} "
        "gradients an X-ray"
    )


if __name__ == "__main__":
    main()
