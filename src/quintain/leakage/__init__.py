"""Privacy audits, and reconstruction from updates; it imports nothing of ``quintain.dp``, which it judges."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.leakage.canaries import CanaryNet as CanaryNet
    from quintain.leakage.canaries import CanaryRun as CanaryRun
    from quintain.leakage.canaries import insert_canaries as insert_canaries
    from quintain.leakage.canaries import train_with_canaries as train_with_canaries
    from quintain.leakage.coordinates import coordinate_measurements as coordinate_measurements
    from quintain.leakage.gradient_inversion import InversionResult as InversionResult
    from quintain.leakage.gradient_inversion import invert_gradient as invert_gradient
    from quintain.leakage.one_run import OneRunAudit as OneRunAudit
    from quintain.leakage.one_run import audit_one_run as audit_one_run
    from quintain.leakage.one_run import max_auditable_epsilon as max_auditable_epsilon
    from quintain.leakage.repeats import joint_bound as joint_bound
    from quintain.leakage.repeats import repetitions as repetitions

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "CanaryNet": "quintain.leakage.canaries",
        "CanaryRun": "quintain.leakage.canaries",
        "InversionResult": "quintain.leakage.gradient_inversion",
        "OneRunAudit": "quintain.leakage.one_run",
        "audit_one_run": "quintain.leakage.one_run",
        "coordinate_measurements": "quintain.leakage.coordinates",
        "insert_canaries": "quintain.leakage.canaries",
        "invert_gradient": "quintain.leakage.gradient_inversion",
        "joint_bound": "quintain.leakage.repeats",
        "max_auditable_epsilon": "quintain.leakage.one_run",
        "repetitions": "quintain.leakage.repeats",
        "train_with_canaries": "quintain.leakage.canaries",
    },
)
