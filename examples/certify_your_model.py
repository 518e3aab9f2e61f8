"""Certify a net that was trained as usual: intervals, then linear bounds, then branch and bound."""

import torch
from torch import nn

import quintain as q

THREAT = q.Linf(6 / 255)


def main() -> None:
    """Train a net on the bundled X-rays for a moment, without any defense, and prove what holds of 100."""
    data = q.load_data("xrays")
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 2))
    q.training.fit(net, data.split("train"), q.training.Recipe(epochs=10, learning_rate=3e-3), seed=0)

    model = q.Classifier(net, num_classes=2)
    x, y = data.split("test").sample(100, seed=0).batch(range(100))
    certified = torch.zeros(len(x), dtype=torch.bool)
    broken = model.predict(x) != y
    print(f"{int((~broken).sum())} of {len(x)} right")

    # the cheap certifier first; a dearer one gets what is neither proven nor broken yet
    for certifier in (q.certify.IntervalBounds(), q.certify.CROWN(), q.certify.BranchAndBound(seconds=5.0)):
        left = ~certified & ~broken
        if not left.any():
            break
        found = certifier(model, x[left], y[left], THREAT)
        certified[left] = found.certified
        if found.counterexample is not None:
            # an input within the threat that the net itself gets wrong
            broken[left] |= ~found.certified & (model.predict(found.counterexample) != y[left])
        print(f"{type(certifier).__name__}: {int(certified.sum())} certified, {int(broken.sum())} broken")
    attacked = q.attacks.PGD()(model, x, y, THREAT, seed=0).success
    assert not (certified & attacked).any(), "a certified example was broken: a bug"


if __name__ == "__main__":
    main()
