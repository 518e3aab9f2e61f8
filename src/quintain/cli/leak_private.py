"""The private training that ``--private`` names: whether it is that of the model and the data at hand."""

from pathlib import Path
from typing import TYPE_CHECKING

from quintain.cli.run_settings import has_same_data
from quintain.core.errors import SettingError

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall
    from quintain.results.privacy_records import PrivatizeResult


def read_private_training(folder: Path, call: "VerbCall") -> "PrivatizeResult":
    """Return the record of the private training of a call's model on its train split.

    Args:
        folder: The run folder of ``quintain privatize``, or of a drill.
        call: Of ``quintain leak``.

    Raises:
        SettingError: If it holds no private training, or that of another model or of other many records.
    """
    from quintain.report import read
    from quintain.results.privacy_records import PrivatizeResult

    found = [one.result for one in read(folder) if isinstance(one.result, PrivatizeResult)]
    if not found:
        raise SettingError(
            f"--private {folder} holds no private training; expected the run folder of quintain privatize, "
            "or --claim with its epsilon"
        )
    trained, own = found[-1].training.model, call.model_under_test.file
    if trained.model_hash != own.model_hash:
        raise SettingError(
            f"--private {folder} is the record of another model than {call.model} with "
            f"{call.weights or 'no weights'}; expected --weights {folder / trained.path}"
        )
    records = round(found[-1].plan.expected_batch_size / found[-1].plan.sample_rate)
    if records != len(call.train):
        raise SettingError(
            f"--private {folder} was trained on {records:,} records, and --data {call.data} has "
            f"{len(call.train):,} in its split train; expected the data of that training, whose examples are "
            "the members that attacks look for"
        )
    return found[-1]


def data_notes(folder: Path, data: str) -> tuple[str, ...]:
    """Return a sentence where it is not known whether ``--data`` is what a private training was of.

    Its record has no hash that could be compared: who has all records but one could try the last one by it.

    Args:
        folder: The run folder of the training.
        data: What ``--data`` says.
    """
    if has_same_data(folder, data):
        return ()
    return (
        f"nothing shows that {data} is what the private model was trained on: names, sizes or dates of its "
        f"files are not those of {folder}, whose record holds no hash of private records. Of other data "
        "attacks find less than there is",
    )
