"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

EXPORTS: dict[str, str] = {
    "SecAgg": "quintain.federated.flower.secure_strategy",
    "SiteSettings": "quintain.federated.flower.site",
    "SumTerms": "quintain.federated.flower.terms",
    "secagg_mod": "quintain.federated.flower.client_mod",
    "server_app": "quintain.federated.flower.deployment_server",
    "stub_app": "quintain.federated.flower.stub",
}
