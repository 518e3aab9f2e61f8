"""What models and updates give away: privacy audits and reconstruction. It never sees ``quintain.dp``, the other side of the bracket."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.leakage.canaries import Canaried as Canaried
    from quintain.leakage.canaries import CanaryNet as CanaryNet
    from quintain.leakage.canaries import one_run_experiment as one_run_experiment
    from quintain.leakage.canaries import plant as plant
    from quintain.leakage.coordinates import coordinate_measurements as coordinate_measurements
    from quintain.leakage.inversion import Inversion as Inversion
    from quintain.leakage.inversion import invert as invert
    from quintain.leakage.one_run import OneRunAudit as OneRunAudit
    from quintain.leakage.one_run import audit_one_run as audit_one_run
    from quintain.leakage.one_run import ceiling as ceiling
    from quintain.leakage.repeats import joint_bound as joint_bound
    from quintain.leakage.repeats import repetitions as repetitions

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Canaried": "quintain.leakage.canaries",
        "CanaryNet": "quintain.leakage.canaries",
        "Inversion": "quintain.leakage.inversion",
        "OneRunAudit": "quintain.leakage.one_run",
        "audit_one_run": "quintain.leakage.one_run",
        "ceiling": "quintain.leakage.one_run",
        "coordinate_measurements": "quintain.leakage.coordinates",
        "invert": "quintain.leakage.inversion",
        "joint_bound": "quintain.leakage.repeats",
        "one_run_experiment": "quintain.leakage.canaries",
        "plant": "quintain.leakage.canaries",
        "repetitions": "quintain.leakage.repeats",
    },
)
