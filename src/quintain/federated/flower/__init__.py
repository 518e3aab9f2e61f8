"""Flower apps under secure aggregation: a mod and a strategy, or a deployment's two apps (extra ``fed``)."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports
from quintain.federated.flower._index import EXPORTS

if TYPE_CHECKING:
    from quintain.federated.flower.client_mod import secagg_mod as secagg_mod
    from quintain.federated.flower.deployment_server import server_app as server_app
    from quintain.federated.flower.secure_strategy import SecAgg as SecAgg
    from quintain.federated.flower.site import SiteSettings as SiteSettings
    from quintain.federated.flower.stub import stub_app as stub_app
    from quintain.federated.flower.terms import SumTerms as SumTerms

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
