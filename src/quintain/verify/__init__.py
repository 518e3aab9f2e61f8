"""Properties of ONNX nets in VNN-LIB: proofs, counterexamples, and a referee of other verifiers."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports
from quintain.verify._index import EXPORTS

if TYPE_CHECKING:
    from quintain.verify._index import *
    from quintain.verify.parser import parse_property as parse_property
    from quintain.verify.parser import read_property as read_property
    from quintain.verify.properties import Property as Property
    from quintain.verify.refereeing import Ruling as Ruling
    from quintain.verify.refereeing import referee as referee
    from quintain.verify.refereeing import referee_folder as referee_folder
    from quintain.verify.results import PropertyVerdict as PropertyVerdict
    from quintain.verify.results import result_text as result_text
    from quintain.verify.verifier import verify_property as verify_property

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
