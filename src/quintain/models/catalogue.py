"""Models known by name; each target is a factory ``(num_classes, channels, size, *, seed) -> nn.Module``."""

from quintain.core.registry import Entry

CATALOGUE = (
    Entry(
        "model",
        "xray-cnn",
        "quintain.models.nets:xray_cnn",
        "two 4x4 convolutions of stride 2 (16, 32), then 64 units; ReLU",
    ),
    Entry("model", "mlp", "quintain.models.nets:mlp", "one hidden layer of 32 units; ReLU"),
)
