"""What ``certify --property`` and ``referee`` do: decide a property, rule on another verifier's result."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from quintain.cli.ci_files import note_reason
from quintain.cli.options import DEFAULT_DATA, DEFAULT_DEVICE
from quintain.cli.output_files import refuse_unwritable, remove_earlier, write_or_add
from quintain.cli.requirement_threats import refuse_run_options
from quintain.core.errors import ExitCode, SettingError

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall
    from quintain.verify.counterexamples import Counterexample
    from quintain.verify.refereeing import Decision, Ruling

CODES = {"unsat": ExitCode.OK, "sat": ExitCode.FAILED, "unknown": ExitCode.UNDECIDED}
"""Exit codes by the answer on a property: proven, violated, neither."""

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
        others: The threats and the certifier that were named, which a property has no use for.

    Raises:
        SettingError: If there are such, or other data, weights, a device, a run folder or requirements; if
            the model is no ONNX file, or a result has no property.
    """
    from quintain.models.loading import is_onnx
    from quintain.verify.results import result_text
    from quintain.verify.verifier import verify_property

    if file is None:
        raise SettingError(f"got --result {result} without --property; expected a property in VNN-LIB 1.0")
    given = {
        "a threat or a certifier": any(others),
        "--weights": call.weights is not None,
        "--data": call.data != DEFAULT_DATA,
        f"--device {call.device}": call.device not in {DEFAULT_DEVICE, "cpu"},
        f"--model {call.model}": not is_onnx(call.model),
    }
    if beside := next((text for text, is_given in given.items() if is_given), ""):
        raise SettingError(
            f"got --property with {beside}; expected --model net.onnx, and the property alone: it states its "
            "own box of inputs, the file has its weights, and bounds are computed on the CPU"
        )
    refuse_run_options(call, "--property")
    model = call.model.removeprefix("onnx:")
    _prepare_output("result", result, {"model": Path(model), "property": file})
    verdict = verify_property(model, file, seconds=seconds)
    call.console.print(verdict.answer, markup=False)
    how = f"by {verdict.how}; {verdict.seconds:.1f} s" if verdict.answer != "unknown" else verdict.how
    call.print_dim(how)
    note_reason(f"{file} is {verdict.answer}, {how}")
    if verdict.counterexample is not None:
        call.print_dim(f"its counterexample holds in {verdict.counterexample.runtime}, torch and float64")
    if result is not None:
        write_or_add(result, result_text(verdict).encode(), append=False)
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

    model = call.model.removeprefix("onnx:")
    inputs = {"model": Path(model), "property": file, "result": Path(result)}
    if counterexample is not None:
        inputs["counterexample"] = counterexample
    refuse_run_options(call, "referee")
    _prepare_output("witness", witness, inputs)
    ruling = referee(model, file, result, counterexample, seconds=seconds)
    line = f"{ruling.decision}: {ruling.claimed}, {ruling.reason}"
    call.console.print(line, markup=False, soft_wrap=True)
    note_reason(line)
    if ruling.counterexample is not None and witness is not None:
        _write_witness(witness, ruling.counterexample)
        call.print_dim(str(witness))
    return DECISION_CODES[ruling.decision]


def rule_on_folder(call: "VerbCall", folder: Path, seconds: float) -> int:
    """Rule on each instance of a folder, and show a table with its totals."""
    from quintain.verify.refereeing import referee_folder

    refuse_run_options(call, "referee")
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
    line = f"{len(found)} instances: {totals}"
    call.console.print(line, markup=False, soft_wrap=True)
    note_reason(line)
    return worst_code([one.ruling for one in found])


def worst_code(rulings: "Sequence[Ruling]") -> ExitCode:
    """Return the exit code of several rulings: that of a refuted one, else of an undecided one."""
    decisions = {ruling.decision for ruling in rulings}
    return next((DECISION_CODES[name] for name in ("REFUTED", "UNDECIDED") if name in decisions), ExitCode.OK)


def _prepare_output(option: str, place: Path | None, inputs: Mapping[str, Path]) -> None:
    """Refuse a file that cannot be written or must not be lost, and remove what was written there before."""
    if place is not None:
        refuse_unwritable({option: place}, None, inputs)
        remove_earlier(place)


def _write_witness(place: Path, found: "Counterexample") -> None:
    from quintain.verify.results import PropertyVerdict, result_text

    write_or_add(place, result_text(PropertyVerdict("sat", found, "", 0.0)).encode(), append=False)
