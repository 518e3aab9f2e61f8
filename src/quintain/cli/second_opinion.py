"""What ``audit --train`` and ``--mechanism`` do: audit code of the user's, and hold its claim to that."""

import io
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from quintain.cli.ci_files import note_reason
from quintain.cli.requirement_threats import refuse_run_options
from quintain.cli.score_audits import CODES
from quintain.core.errors import DataError, NotFoundError, SettingError
from quintain.core.files import read_bytes

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

        def load(spec: str) -> BlackBoxTraining:
            return BlackBoxTraining.of(load_user_function(spec, expected=EXPECTED), spec)

        training = load(self.train)
        control = load(self.control) if self.control else None
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
                seed=call.seed,
                unfinished=call.unfinished,
                progress=call.progress,
            )

        call.warn(() if call.classes else class_warnings(call.train))
        return call.run_resumable(work)


EXPECTED_INPUTS = "an .npz file of the arrays records and neighbor, which differ by one record"


@dataclass(frozen=True, kw_only=True)
class MechanismAudit:
    """What the options of ``audit --mechanism`` said.

    Args:
        mechanism: ``path/to/file.py:function``, a function of records and a generator.
        inputs: An ``.npz`` file of the two inputs; those of ``neighbors()`` in the same file if not given.
        claim, delta: The epsilon that is claimed, at which delta.
        adjacency: What the inputs differ by; empty if not said.
        runs: Of each input.
    """

    mechanism: str
    inputs: Path | None = None
    claim: float | None = None
    delta: float = 1e-5
    adjacency: str = ""
    runs: int = 1000

    def run(self, call: "VerbCall") -> int:
        """Run the audit, show what it found, and return the exit code.

        Args:
            call: Of the command.
        """
        from quintain.evaluate.steps.audit_mechanism import ClaimedMechanism, audit_mechanism
        from quintain.models.user_files import load_user_function
        from quintain.report import presentation_of

        refuse_run_options(call, "--mechanism")
        function = load_user_function(self.mechanism, expected="fn(records, rng)")
        records, neighbor = self._neighbors()
        claim = ClaimedMechanism(
            function,
            records,
            neighbor,
            epsilon=self.claim,
            delta=self.delta,
            adjacency=self.adjacency,
            name=self.mechanism,
        )
        result = audit_mechanism(claim, runs=self.runs, seed=call.seed, progress=call.progress)
        lines = list(presentation_of(result).summary(result))
        for line in lines:
            call.console.print(line, markup=False, soft_wrap=True)
        note_reason("; ".join(lines))
        if claim.adjacency == "replace" and not self.adjacency:
            call.print_dim(
                "the claim is taken for one of another record, as the inputs show; one of a record more, "
                "which may be half as large, takes inputs that differ by that, or by a blank record with "
                "--adjacency add/remove"
            )
        known = claim.adjacency or "one record, which nobody checked"
        call.print_dim(f"assumed: runs are independent of each other; the inputs differ by {known}")
        return CODES[result.bracket.consistency]

    def _neighbors(self) -> tuple[Any, Any]:
        """Return the two inputs."""
        if self.inputs is not None:
            return _read_inputs(self.inputs)
        from quintain.models.user_files import load_user_function

        spec = f"{self.mechanism.rpartition(':')[0]}:neighbors"
        try:
            found = load_user_function(spec, expected="neighbors()")()
        except NotFoundError as error:
            raise NotFoundError(
                f"{error}; expected a function neighbors() there that returns two neighboring inputs, or "
                f"--inputs with {EXPECTED_INPUTS}"
            ) from error
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise DataError(f"{spec} returns a {type(found).__name__}; expected two neighboring inputs")
        return found[0], found[1]


def _read_inputs(path: Path) -> tuple[Any, Any]:
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}; expected {EXPECTED_INPUTS}")
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
    except (ValueError, OSError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error}); expected {EXPECTED_INPUTS}") from error
    if not {"records", "neighbor"} <= arrays.keys():
        raise DataError(f"{path} has {', '.join(sorted(arrays)) or 'no array'}; expected {EXPECTED_INPUTS}")
    return arrays["records"], arrays["neighbor"]
