"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

EXPORTS: dict[str, str] = {
    "Classifier": "quintain.models.classifier",
    "Color": "quintain.threats.color",
    "Compose": "quintain.threats.compose",
    "L0": "quintain.threats.l0",
    "L1": "quintain.threats.l1",
    "L2": "quintain.threats.l2",
    "Linf": "quintain.threats.linf",
    "Mask": "quintain.threats.mask",
    "Negative": "quintain.threats.negative",
    "Patch": "quintain.threats.patch",
    "ProjectedLight": "quintain.threats.light",
    "QuintainError": "quintain.core.errors",
    "Spatial": "quintain.threats.spatial",
    "attack": "quintain.evaluate.evasion.defaults",
    "attacks": "quintain.attacks",
    "certify": "quintain.certify",
    "dp": "quintain.dp",
    "evaluate": "quintain.evaluate",
    "federated": "quintain.federated",
    "fgsm_attack": "quintain.attacks.gradient.fgsm",
    "harden": "quintain.harden",
    "leakage": "quintain.leakage",
    "load_data": "quintain.data.loading",
    "load_model": "quintain.models.loading",
    "losses": "quintain.losses",
    "results": "quintain.results",
    "testing": "quintain.testing",
    "threats": "quintain.threats",
    "training": "quintain.training",
    "verify": "quintain.verify",
}
