"""A run folder that holds its result answers again: the same command shows what is stored, without work."""

from dataclasses import replace
from pathlib import Path

from quintain.cli.call import VerbCall
from quintain.cli.requirement_threats import measured_threats, refuse_unmeasured_requirements
from quintain.cli.run_settings import refuse_other_settings
from quintain.core.errors import ExitCode, RunFolderError
from quintain.core.processes import is_first_process
from quintain.results.run_layout import RESULT_FILE, RUN_SETTINGS_FILE, UNFINISHED


def repeat_finished(call: VerbCall) -> int | None:
    """Show the stored result of a finished run of the command, and decide the requirements anew.

    Args:
        call: The call of the command that runs.

    Returns:
        The exit code; None where there is nothing to repeat.

    Raises:
        RunFolderError: If the folder holds the result of a run of other settings, of another model, or of
            other data; the difference is named.
        SettingError: If something is required at a size that the run has not measured.
    """
    out = call.out
    if out is None or not all((out / name).is_file() for name in (RESULT_FILE, RUN_SETTINGS_FILE)):
        return None
    if (out / UNFINISHED).is_dir():
        return None
    loaded = refuse_other_settings(out)
    if loaded.model:
        _refuse_other_model(loaded.model, call.model, call.weights, out)

    from quintain.results.codec import load

    record = load(out / RESULT_FILE)
    refuse_unmeasured_requirements(call.requirements, measured_threats([record]), out)
    if loaded.examples:
        same_examples = replace(call, **loaded.examples)  # type: ignore[arg-type]
        _refuse_other_data(same_examples, record.provenance.data.hash, out)
    if is_first_process():
        return call.repeat(record)
    verdict = call.decide(record).verdict
    return verdict.exit_code if verdict else ExitCode.OK


def _refuse_other_model(loaded: dict[str, int | str], model: str, weights: Path | None, out: Path) -> None:
    """Raise if the model, loaded as before, is another: a factory may read a file of weights of its own.

    Raises:
        RunFolderError: If it is.
    """
    from quintain.models import load_classifier

    arguments = {name: value for name, value in loaded.items() if isinstance(value, int)}
    now = load_classifier(model, weights, **arguments).hash
    if now != loaded.get("hash"):
        raise RunFolderError(
            f"{out} holds the result of another model: --model {model} has the hash {str(now)[:12]}..., and "
            f"then had {str(loaded.get('hash'))[:12]}...: something that its file loads has changed; use "
            "another --out"
        )


def _refuse_other_data(call: VerbCall, digest: str, out: Path) -> None:
    """Raise if the examples, read as before, have another hash than the record has.

    Raises:
        RunFolderError: If they have.
    """
    now = call.examples.hash
    if now != digest:
        raise RunFolderError(
            f"{out} holds the result of other data: --data {call.data} has the hash {now[:12]}..., and then "
            f"had {digest[:12]}...; use another --out"
        )
