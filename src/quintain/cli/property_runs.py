"""What ``certify --property`` and ``referee`` do: decide a property, rule on another verifier's result."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from quintain.cli.ci_files import note_reason
from quintain.cli.options import DEFAULT_DATA, DEFAULT_DEVICE
from quintain.cli.score_audits import refuse_run_options
from quintain.core.errors import ExitCode, SettingError

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall
    from quintain.verify.counterexamples import Counterexample
    from quintain.verify.refereeing import Decision, Ruling

CODES = {"unsat": ExitCode.OK, "sat": ExitCode.FAILED, "unknown": ExitCode.UNDECIDED}
"""Exit codes by the answer on a property: proven, violated, neither."""

_HEAD_SIZE = 1000
_ANSWERS = {answer.encode() for answer in CODES}
"""The first word of a file of answers."""

DECISION_CODES: "dict[Decision, ExitCode]" = {
    "CONFIRMED": ExitCode.OK,
    "REFUTED": ExitCode.FAILED,
    "UNDECIDED": ExitCode.UNDECIDED,
}
"""Exit codes by a referee's decision."""


def decide_property(
    call: "VerbCall", file: Path | None, seconds: float, result: Path | None, *, others: Sequence[str]
) -> int:
    """Decide a property, show the answer and write it.

    Args:
        call: Of the command; names the model.
        file: The property.
        seconds: How long to try.
        result: Where the answer goes.
        others: What was said of threats and certifiers, which a property has no use for.

    Raises:
        SettingError: If these were said too, or other data, weights, a device, a run folder or requirements;
            if the model is no ONNX file, or a result has no property.
    """
    from quintain.core.files import write_atomically
    from quintain.models.loading import is_onnx
    from quintain.verify.results import result_text
    from quintain.verify.verifier import verify_property

    if file is None:
        raise SettingError(f"got --result {result} without --property; expected a property in VNN-LIB 1.0")
    said = {
        "a threat or a certifier": any(others),
        "--weights": call.weights is not None,
        "--data": call.data != DEFAULT_DATA,
        f"--device {call.device}": call.device not in {DEFAULT_DEVICE, "cpu"},
        f"--model {call.model}": not is_onnx(call.model),
    }
    if beside := next((text for text, is_said in said.items() if is_said), ""):
        raise SettingError(
            f"got --property with {beside}; expected --model net.onnx, and the property alone: it states its "
            "own box of inputs, the file has its weights, and bounds are computed on the CPU"
        )
    refuse_run_options(call, "--property")
    model = call.model.removeprefix("onnx:")
    _clear_output("result", result, {"model": Path(model), "property": file})
    verdict = verify_property(model, file, seconds=seconds)
    call.console.print(verdict.answer, markup=False)
    how = f"by {verdict.how}; {verdict.seconds:.1f} s" if verdict.answer != "unknown" else verdict.how
    call.print_dim(how)
    note_reason(f"{file} is {verdict.answer}, {how}")
    if verdict.counterexample is not None:
        call.print_dim(f"its counterexample holds in {verdict.counterexample.runtime}, torch and float64")
    if result is not None:
        write_atomically(result, result_text(verdict).encode())
        call.print_dim(str(result))
    return CODES[verdict.answer]


def rule_on_one(
    call: "VerbCall",
    file: Path,
    result: str,
    counterexample: Path | None,
    seconds: float,
    witness: Path | None,
) -> int:
    """Rule on one result, show the ruling, and write the counterexample that holds."""
    from quintain.verify.refereeing import referee

    inputs = {"model": Path(call.model.removeprefix("onnx:")), "property": file, "result": Path(result)}
    _clear_output("witness", witness, inputs | ({"counterexample": counterexample} if counterexample else {}))
    ruling = referee(call.model.removeprefix("onnx:"), file, result, counterexample, seconds=seconds)
    call.console.print(f"{ruling.decision}: {ruling.claimed}, {ruling.reason}", markup=False, soft_wrap=True)
    if ruling.counterexample is not None and witness is not None:
        _write_witness(witness, ruling.counterexample)
        call.print_dim(str(witness))
    return DECISION_CODES[ruling.decision]


def rule_on_folder(call: "VerbCall", folder: Path, seconds: float) -> int:
    """Rule on each instance of a folder, and show a table with its totals."""
    from quintain.verify.refereeing import referee_folder

    found = referee_folder(folder, seconds=seconds)
    for one in found:
        ruling = one.ruling
        call.console.print(
            f"{ruling.decision:<9}  {ruling.claimed:<7}  {one.model}  {one.prop}  {ruling.reason}",
            markup=False,
            soft_wrap=True,
        )
    decisions = [one.ruling.decision for one in found]
    totals = ", ".join(f"{decisions.count(name)} {name}" for name in DECISION_CODES)
    call.console.print(f"{len(found)} instances: {totals}", markup=False, soft_wrap=True)
    return worst_code([one.ruling for one in found])


def worst_code(rulings: "Sequence[Ruling]") -> ExitCode:
    """Return the exit code of several rulings: that of a refuted one, else of an undecided one."""
    decisions = {ruling.decision for ruling in rulings}
    return next((DECISION_CODES[name] for name in ("REFUTED", "UNDECIDED") if name in decisions), ExitCode.OK)


def _clear_output(option: str, place: Path | None, inputs: Mapping[str, Path]) -> None:
    """Remove an answer of an earlier run, which would stand for this one if it fails.

    Raises:
        SettingError: If the file is one that the command reads, or is not one of answers.
    """
    if place is None or not place.is_file():
        return
    for other, read in inputs.items():
        if read.exists() and place.samefile(read):
            raise SettingError(f"--{option} {place} is what --{other} reads; give a file of its own")
    with place.open("rb") as file:
        head = file.read(_HEAD_SIZE).split()
    if head and head[0] not in _ANSWERS:
        raise SettingError(
            f"--{option} {place} exists, and was not written by --{option}: it would be lost; give another "
            "file, or delete it"
        )
    place.unlink()


def _write_witness(place: Path, found: "Counterexample") -> None:
    from quintain.core.files import write_atomically
    from quintain.verify.results import PropertyVerdict, result_text

    write_atomically(place, result_text(PropertyVerdict("sat", found, "", 0.0)).encode())
