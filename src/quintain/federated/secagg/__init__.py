"""Secure aggregation as pure functions over arrays and keys: no transport, no torch, no accounting."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports
from quintain.federated.secagg._index import EXPORTS

if TYPE_CHECKING:
    from quintain.federated.secagg import client as client
    from quintain.federated.secagg import masks as masks
    from quintain.federated.secagg import server as server
    from quintain.federated.secagg.encoding import Encoding as Encoding
    from quintain.federated.secagg.encoding import finest_encoding as finest_encoding
    from quintain.federated.secagg.folder_journal import FolderJournal as FolderJournal
    from quintain.federated.secagg.journal import MemoryJournal as MemoryJournal
    from quintain.federated.secagg.keys import Identity as Identity
    from quintain.federated.secagg.keys import Roster as Roster
    from quintain.federated.secagg.policy import Policy as Policy
    from quintain.federated.secagg.policy import Task as Task
    from quintain.federated.secagg.policy import default_threshold as default_threshold

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
