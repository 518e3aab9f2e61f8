"""The modules of Opacus 1.6 under their own paths: a script changes its imports alone.

::

    from quintain.dp.opacus.validators import ModuleValidator  # was: from opacus.validators import ...

A module with ``__all__`` has the path and the names of a module of Opacus; modules without it are helpers. To
import a name that is missing raises an ``ImportError`` that says what to use instead
(``refused.missing_name_getattr``), also from a module of Opacus that has no file here
(``refused.RefusedModules``).
"""

import sys

from quintain.dp.opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
from quintain.dp.opacus.privacy_engine import PrivacyEngine
from quintain.dp.opacus.refused import RefusedModules, missing_name_getattr

__all__ = ["GradSampleModule", "GradSampleModuleFastGradientClipping", "PrivacyEngine"]
__getattr__ = missing_name_getattr(__name__)

# asked last, for modules of this package that no other finder knows
sys.meta_path.append(RefusedModules())
