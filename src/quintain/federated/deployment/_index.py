"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

EXPORTS: dict[str, str] = {
    "ClientSettings": "quintain.federated.deployment.site_settings",
    "Deployment": "quintain.federated.deployment.plan_file",
    "ServerSettings": "quintain.federated.deployment.server_settings",
    "approve": "quintain.federated.deployment.approval",
    "load_plan": "quintain.federated.deployment.plan_file",
    "run_daemon": "quintain.federated.deployment.site_daemon",
}
