"""The page on models of one's own names what is taken."""

from pathlib import Path

from quintain.certify.interval.layer_rules import LAYER_RULES
from quintain.models.adapters import LOGIT_KEYS
from quintain.models.loading import BLACK_BOX_PREFIXES, BLACK_BOX_SUFFIXES
from quintain.models.onnx_net.operators import OPERATORS
from quintain.models.weights import NESTED_KEYS, TORCH_SUFFIXES

PAGE = (Path(__file__).parents[2] / "docs/your-own-model.md").read_text(encoding="utf-8")


def test_every_key_suffix_and_prefix_is_on_the_page() -> None:
    keys = [f'`"{key}"`' for key in (*LOGIT_KEYS, *NESTED_KEYS)]
    names = [f"`{suffix}`" for suffix in (".safetensors", *TORCH_SUFFIXES)]
    models = [f"`{prefix}" for prefix in BLACK_BOX_PREFIXES if prefix not in ("onnx:", "https://")]
    ends = [f"{suffix}`" for suffix in BLACK_BOX_SUFFIXES]
    missing = [text for text in (*keys, *names, *models, *ends) if text not in PAGE]
    assert missing == []


def test_every_layer_with_a_bound_rule_is_on_the_page() -> None:
    (stated,) = [part for part in PAGE.split("\n\n") if "has a rule for these layers" in part]
    assert [layer.__name__ for layer in LAYER_RULES if f"`{layer.__name__}`" not in stated] == []


def test_every_operator_that_is_imported_is_on_the_page() -> None:
    (stated,) = [part for part in PAGE.split("\n\n") if "reads the net of an ONNX file" in part]
    assert [name for name in OPERATORS if f"`{name}`" not in stated and f"`{name}` of" not in stated] == []
