"""Properties of MNIST nets in VNN-LIB: how many are decided in 30 s of a processor, and whether any is wrong.

The nets have 2, 4 and 6 layers of 256 units, as VNN-COMP's ``mnist_fc`` has, and are trained here; a property
says that no other digit wins within eps of an image. Seconds are of all threads together, so that what else
the machine does counts little: ``OMP_NUM_THREADS=1`` leaves one.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

import quintain as q
from benchmarks.evasion.shared import path as shared_file
from benchmarks.harness import Comparison
from quintain.data.dataset import Dataset
from quintain.verify.results import PropertyVerdict

DEPTHS, SIZES, IMAGES, SECONDS = (2, 4, 6), (0.03, 0.05), 5, 30.0
EPOCHS, LEARNING_RATE = 3, 1e-3


def run() -> Iterator[Comparison]:
    """Train each net, decide its properties, and attack what was proven once more."""
    data = q.load_data(str(shared_file("data/MNIST/raw")))
    x, y = data.split("test").sample(200, seed=1).batch(range(200))
    for depth in DEPTHS:
        net = _train(depth, data.split("train"))
        right = (q.Classifier(net).predict(x) == y).nonzero().squeeze(1)[:IMAGES]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.onnx"
            _write(net, path)
            for eps in SIZES:
                yield _decide(net, path, x[right], y[right], eps)


def _decide(net: nn.Module, path: Path, x: torch.Tensor, y: torch.Tensor, eps: float) -> Comparison:
    """Decide the property of each image."""
    depth = sum(isinstance(layer, nn.ReLU) for layer in net)  # type: ignore[arg-type]
    verdicts: list[PropertyVerdict] = []
    wrong, seconds = 0, []
    for image, label in zip(x, y.tolist(), strict=True):
        prop = path.with_suffix(".vnnlib")
        prop.write_text(_property(image.flatten().tolist(), label, eps))
        started = time.process_time()
        verdicts.append(q.verify.verify_property(path, prop, seconds=SECONDS, clock=time.process_time))
        seconds.append(time.process_time() - started)
        attacked = q.attacks.PGD(steps=100)(
            q.Classifier(net), image[None], torch.tensor([label]), q.Linf(eps), seed=1
        )
        wrong += verdicts[-1].answer == "unsat" and bool(attacked.success.any())
    counts = Counter(verdict.answer for verdict in verdicts)
    return Comparison(
        f"256x{depth}, eps {eps:g}, {len(x)} images",
        f"{counts['unsat']} unsat, {counts['sat']} sat, {counts['unknown']} unknown; {wrong} wrong; "
        f"{np.median(seconds):.1f} s median, {max(seconds):.1f} s at most",
    )


def _train(depth: int, data: Dataset) -> nn.Sequential:
    torch.manual_seed(depth)
    layers: list[nn.Module] = [nn.Flatten()]
    for at in range(depth):
        layers += [nn.Linear(784 if at == 0 else 256, 256), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(256, 10))
    optimizer = torch.optim.Adam(net.parameters(), LEARNING_RATE)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(data)).split(128):
            images, labels = data.batch(rows)
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images), labels).backward()
            optimizer.step()
    return net.eval()


def _write(net: nn.Sequential, path: Path) -> None:
    from onnx import TensorProto, helper, numpy_helper, save

    nodes, tensors, last = [helper.make_node("Flatten", ["x"], ["h"])], {}, "h"
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    for at, layer in enumerate(linear):
        tensors |= {f"w{at}": layer.weight, f"b{at}": layer.bias}
        out = "y" if layer is linear[-1] else f"g{at}"
        nodes.append(helper.make_node("Gemm", [last, f"w{at}", f"b{at}"], [out], transB=1))
        last = f"r{at}"
        if layer is not linear[-1]:
            nodes.append(helper.make_node("Relu", [out], [last]))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 28, 28])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(value.detach().numpy(), name) for name, value in tensors.items()],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


def _property(image: list[float], label: int, eps: float) -> str:
    names = [f"X_{i}" for i in range(784)] + [f"Y_{j}" for j in range(10)]
    lines = [f"(declare-const {name} Real)" for name in names]
    for i, value in enumerate(image):
        low, high = max(0.0, value - eps), min(1.0, value + eps)
        lines.append(f"(assert (>= X_{i} {low:.9f}))(assert (<= X_{i} {high:.9f}))")
    cases = " ".join(f"(and (>= Y_{j} Y_{label}))" for j in range(10) if j != label)
    return "\n".join([*lines, f"(assert (or {cases}))"])
