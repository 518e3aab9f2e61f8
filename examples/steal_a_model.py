"""Steal a model that only answers: a copy of it from a few hundred labels, and how far it agrees."""

import numpy as np
import torch

import quintain as q
from quintain.data.dataset import Dataset
from quintain.leakage.judges.agreement import judge_agreement
from quintain.models.nets import xray_cnn

QUERIES = 300


def victim(data: Dataset) -> q.models.BlackBox:
    """Return a model of which nothing is seen but the class that it predicts."""
    net = xray_cnn(seed=0)
    q.training.fit(net, data, q.training.Recipe(epochs=8, batch_size=32), seed=0)

    def predict(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return net(torch.from_numpy(x)).argmax(1).numpy()

    return q.models.BlackBox(predict, access="labels", num_classes=2)


def main() -> None:
    """Ask about public X-rays, train a copy on the answers, and compare it on X-rays that neither saw."""
    xrays = q.load_data("xrays")
    train, test = xrays.split("train"), xrays.split("test")
    model = victim(train.subset(np.arange(1000)))
    public = train.subset(np.arange(1000, 2000))

    view = q.leakage.ModelView(model, max_queries=QUERIES)
    the_model = q.leakage.Candidates(
        y=torch.zeros(1, dtype=torch.long), ids=torch.zeros(1, dtype=torch.long), shape=public.shape
    )
    knowledge = q.leakage.Knowledge(public=public)
    copy = q.leakage.Knockoff().guess(view, knowledge, the_model, budget=QUERIES, seed=0).model
    assert copy is not None

    x, _ = test.tensors
    found = judge_agreement(model.predict(x).numpy(), copy.predict(x).numpy(), {}, unit="image")
    print(
        f"{view.queries} answers, labels alone: the copy agrees with the model on {found.value:.1%} of "
        f"{len(test)} test X-rays (95 %: {found.low:.1%} to {found.high:.1%})"
    )
    print(f"without a query, {found.baseline_name}: {found.baseline:.1%}")


if __name__ == "__main__":
    main()
