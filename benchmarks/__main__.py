"""``python -m benchmarks [NAME ...]``: the peers come with ``pip install -e '.[bench]'``."""

import sys
from importlib import import_module

SUITES = (
    "pgd",
    "dp.xrays",
    "dp.steps",
    "dp.cost",
    "dp.memory",
    "dp.utility",
    "dp.names",
    "interval_bounds",
    "certify.crown",
    "certify.branch_and_bound",
    "certify.smoothing",
    "certify.ablation",
    "certify.lipschitz",
    "certify.vnnlib",
    "leakage.one_run",
    "federated.byzantine",
    "federated.sums",
    "harden.adversarial",
    "harden.certified",
    "evasion.autoattack",
    "evasion.certified",
    "evasion.smallest",
    "evasion.queries",
    "evasion.share",
    "evasion.memory",
    "evasion.pgd_overhead",
    "evasion.sticker",
    "evasion.signs",
    "evasion.faces",
    "leakage.updates",
    "leakage.membership",
    "federated.clients",
    "federated.overhead",
    "federated.accuracy",
    "federated.strategies",
    "federated.flower",
    "federated.scale",
    "leakage.extraction",
    "leakage.defenses",
    "leakage.planted_bugs",
    "leakage.second_opinion",
    "leakage.drawn_people",
    "leakage.patient_zero",
    "leakage.memorization",
    "leakage.peers",
)


def main(names: list[str]) -> int:
    """Run the named suites, or all."""
    unknown = sorted(set(names) - set(SUITES))
    if unknown:
        print(f"no suite is called {', '.join(unknown)}; there are {', '.join(SUITES)}", file=sys.stderr)
        return 2
    for name in names or SUITES:
        for result in import_module(f"benchmarks.{name}").run():
            print(result.line(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
