"""A federation of several machines: the files of its plan, its sites and its server, and a site's daemon."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports
from quintain.federated.deployment._index import EXPORTS

if TYPE_CHECKING:
    from quintain.federated.deployment.approval import approve as approve
    from quintain.federated.deployment.plan_file import Deployment as Deployment
    from quintain.federated.deployment.plan_file import load_plan as load_plan
    from quintain.federated.deployment.server_settings import ServerSettings as ServerSettings
    from quintain.federated.deployment.site_daemon import run_daemon as run_daemon
    from quintain.federated.deployment.site_settings import ClientSettings as ClientSettings

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
