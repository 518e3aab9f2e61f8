"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

from typing import TYPE_CHECKING

from quintain.core.registry import Entry

if TYPE_CHECKING:
    from quintain.models.nets import mlp as mlp
    from quintain.models.nets import xray_cnn as xray_cnn

EXPORTS: dict[str, str] = {
    "AOLConv2d": "quintain.models.lipschitz_layers",
    "AOLLinear": "quintain.models.lipschitz_layers",
    "BlackBox": "quintain.models.blackbox",
    "Classifier": "quintain.models.classifier",
    "ClassifierLike": "quintain.models.protocol",
    "Endpoint": "quintain.models.endpoint",
    "Normalize": "quintain.models.nets",
    "SLLLinear": "quintain.models.lipschitz_layers",
    "check_model": "quintain.models.checks",
    "connect": "quintain.models.endpoint_client",
    "fold": "quintain.models.lipschitz_layers",
    "forward_logits": "quintain.models.adapters",
    "import_onnx": "quintain.models.onnx_net.reader",
    "initialize": "quintain.models.nets",
    "load_classifier": "quintain.models.loading",
    "load_model": "quintain.models.loading",
    "load_onnx": "quintain.models.onnx",
    "load_weights": "quintain.models.weights",
    "mlp": "quintain.models.nets",
    "read_endpoint": "quintain.models.endpoint",
    "save_weights": "quintain.models.weights",
    "xray_cnn": "quintain.models.nets",
}

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "model",
        "mlp",
        "quintain.models.nets:mlp",
        "one hidden layer of 32 units; ReLU",
    ),
    Entry(
        "model",
        "xray-cnn",
        "quintain.models.nets:xray_cnn",
        "two 4x4 convolutions of stride 2 (16, 32), then 64 units; ReLU",
    ),
)
