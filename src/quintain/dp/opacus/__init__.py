"""The modules of Opacus 1.6 under their own paths, so that a script's imports need one word more.

::

    from quintain.dp.opacus.validators import ModuleValidator  # was: from opacus.validators import ...

All that is here is for the sake of scripts that were written for Opacus. A module with ``__all__`` is one of
Opacus' and has its names; those that are missing say why (``refused``), and so do the modules of which
nothing is here: these have no file, and ``refused.RefusedModules`` finds them. Modules without ``__all__``
are helpers of the others.
"""

import sys

from quintain.dp.opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
from quintain.dp.opacus.privacy_engine import PrivacyEngine
from quintain.dp.opacus.refused import RefusedModules, refusing

__all__ = ["GradSampleModule", "GradSampleModuleFastGradientClipping", "PrivacyEngine"]
__getattr__ = refusing(__name__)

sys.meta_path.append(RefusedModules())
