"""Classifiers of inputs in [0, 1]: nets and black boxes, loading without unpickling, small reference nets."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports
from quintain.models._index import EXPORTS

if TYPE_CHECKING:
    from quintain.models._index import *
    from quintain.models.adapters import forward_logits as forward_logits
    from quintain.models.blackbox import BlackBox as BlackBox
    from quintain.models.checks import check_model as check_model
    from quintain.models.classifier import Classifier as Classifier
    from quintain.models.endpoint import Endpoint as Endpoint
    from quintain.models.endpoint import read_endpoint as read_endpoint
    from quintain.models.endpoint_client import connect as connect
    from quintain.models.lipschitz_layers import AOLConv2d as AOLConv2d
    from quintain.models.lipschitz_layers import AOLLinear as AOLLinear
    from quintain.models.lipschitz_layers import SLLLinear as SLLLinear
    from quintain.models.lipschitz_layers import fold as fold
    from quintain.models.loading import load_classifier as load_classifier
    from quintain.models.loading import load_model as load_model
    from quintain.models.nets import Normalize as Normalize
    from quintain.models.nets import initialize as initialize
    from quintain.models.onnx import load_onnx as load_onnx
    from quintain.models.onnx_net.reader import import_onnx as import_onnx
    from quintain.models.protocol import ClassifierLike as ClassifierLike
    from quintain.models.weights import load_weights as load_weights
    from quintain.models.weights import save_weights as save_weights

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
