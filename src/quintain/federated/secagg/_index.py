"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

EXPORTS: dict[str, str] = {
    "Encoding": "quintain.federated.secagg.encoding",
    "FolderJournal": "quintain.federated.secagg.folder_journal",
    "Identity": "quintain.federated.secagg.keys",
    "MemoryJournal": "quintain.federated.secagg.journal",
    "Policy": "quintain.federated.secagg.policy",
    "Roster": "quintain.federated.secagg.keys",
    "Task": "quintain.federated.secagg.policy",
    "client": "quintain.federated.secagg.client",
    "default_threshold": "quintain.federated.secagg.policy",
    "finest_encoding": "quintain.federated.secagg.encoding",
    "masks": "quintain.federated.secagg.masks",
    "server": "quintain.federated.secagg.server",
}
