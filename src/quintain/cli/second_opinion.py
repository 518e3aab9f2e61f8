"""What ``audit --train`` does: audit a training of the user's as a black box, and hold its claim to that."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from quintain.core.errors import SettingError

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall
    from quintain.core.registry import Entry
    from quintain.evaluate.step import StepOutput


@dataclass(frozen=True, kw_only=True)
class TrainingAudit:
    """What the options of ``audit --train`` said.

    Args:
        train, control: ``path/to/file.py:function``; the control may be empty.
        claim, delta: The epsilon that is claimed, at which delta.
        kind, canaries: Of the canaries.
        adjacency: As ``AuditedClaim`` has it.
        check_seed: Whether the first training is done twice.
    """

    train: str
    control: str = ""
    claim: float | None = None
    delta: float = 1e-5
    kind: str = "mislabeled"
    canaries: int = 500
    adjacency: Literal["add/remove", "replace"] = "add/remove"
    check_seed: bool = False

    def run(self, call: "VerbCall", entry: "Entry") -> int:
        """Run the audit, and return the exit code.

        Args:
            call: Of the command.
            entry: The registered audit.
        """
        from quintain.evaluate.privacy_target import class_warnings
        from quintain.evaluate.steps.audit_training import AuditedClaim, audit_training
        from quintain.leakage.black_box import EXPECTED, BlackBoxTraining
        from quintain.leakage.canary_kinds import canary_maker
        from quintain.models.user_files import load_user_function
        from quintain.results.run_layout import UNFINISHED

        claim = AuditedClaim(
            epsilon=self.claim,
            delta=self.delta,
            adjacency=self.adjacency,
            canary_kind=self.kind,
            canaries=self.canaries,
        )
        canary_maker(self.kind)

        def loaded(spec: str) -> tuple[BlackBoxTraining, str]:
            function = load_user_function(spec, expected=EXPECTED)
            return BlackBoxTraining.of(function, spec), function.file_hash

        training, file_hash = loaded(self.train)
        control = loaded(self.control)[0] if self.control else None
        if len(call.train) <= self.canaries:
            raise SettingError(
                f"{self.canaries} canaries for {len(call.train)} records; expected fewer canaries than "
                "records, each takes the place of one"
            )
        call = replace(call, resume_dir=UNFINISHED)

        def work() -> "StepOutput":
            return audit_training(
                training,
                call.train,
                claim,
                control=control,
                auditor=entry.load(),
                check_seed=self.check_seed,
                file_hash=file_hash,
                seed=call.seed,
                unfinished=call.unfinished,
                progress=call.progress,
            )

        call.warn(() if call.classes else class_warnings(call.train))
        return call.run_resumable(work)
