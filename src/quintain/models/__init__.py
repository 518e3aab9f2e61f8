"""Classifiers over inputs in [0, 1]: adapters, loading without unpickling, small reference nets."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.models.checks import check_model as check_model
    from quintain.models.classifier import Classifier as Classifier
    from quintain.models.loading import load_model as load_model
    from quintain.models.nets import Normalise as Normalise
    from quintain.models.nets import initialise as initialise
    from quintain.models.nets import mlp as mlp
    from quintain.models.nets import xray_cnn as xray_cnn
    from quintain.models.weights import load_weights as load_weights
    from quintain.models.weights import save_weights as save_weights

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Classifier": "quintain.models.classifier",
        "Normalise": "quintain.models.nets",
        "check_model": "quintain.models.checks",
        "initialise": "quintain.models.nets",
        "load_model": "quintain.models.loading",
        "load_weights": "quintain.models.weights",
        "mlp": "quintain.models.nets",
        "save_weights": "quintain.models.weights",
        "xray_cnn": "quintain.models.nets",
    },
)
