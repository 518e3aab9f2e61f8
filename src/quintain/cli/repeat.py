"""Show the stored result where a command names the run folder of a finished run, instead of running again."""

from dataclasses import replace
from pathlib import Path

from quintain.cli.call import VerbCall
from quintain.cli.requirement_threats import measured_threats, refuse_unmeasured_requirements
from quintain.cli.run_settings import refuse_other_settings
from quintain.core.errors import ExitCode, RunFolderError
from quintain.core.processes import is_first_process
from quintain.results.run_layout import RESULT_FILE, RUN_SETTINGS_FILE, UNFINISHED


def repeat_finished(call: VerbCall) -> int | None:
    """Show the stored result of a finished run of the command, judged by the current requirements.

    Args:
        call: The call of the command that runs.

    Returns:
        The exit code; None if the run folder holds no finished run.

    Raises:
        RunFolderError: If the folder holds the result of a run of other settings, of another model, or of
            other data; the difference is named.
        SettingError: If a requirement is about a threat that the run has not measured.
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
    """Raise if the model, loaded anew, has another hash than in the run.

    That shows changes that no option names, such as those of a file of weights that a factory reads.

    Raises:
        RunFolderError: If the hashes differ.
    """
    from quintain.models import load_classifier

    arguments = {name: value for name, value in loaded.items() if isinstance(value, int)}
    current_hash = load_classifier(model, weights, **arguments).hash
    if current_hash != loaded.get("hash"):
        raise RunFolderError(
            f"{out} holds the result of another model: --model {model} has the hash "
            f"{str(current_hash)[:12]}..., and then had {str(loaded.get('hash'))[:12]}...: "
            "something that its file loads has changed; use another --out"
        )


def _refuse_other_data(call: VerbCall, recorded_hash: str, out: Path) -> None:
    """Raise if the examples, read anew, have another hash than in the record.

    Raises:
        RunFolderError: If the hashes differ.
    """
    current_hash = call.examples.hash
    if current_hash != recorded_hash:
        raise RunFolderError(
            f"{out} holds the result of other data: --data {call.data} has the hash {current_hash[:12]}..., "
            f"and then had {recorded_hash[:12]}...; use another --out"
        )
