"""Names of the files and folders of a run, each said once."""

RESULT_FILE = "result.json"
"""The record of one verb."""

RUN_SETTINGS_FILE = "run.json"
"""The settings of a run; no record."""

DRILL_SIZES_FILE = "sizes.json"
"""How much work each step of a drill does, once that was decided; no record."""

NO_RECORDS = (RUN_SETTINGS_FILE, DRILL_SIZES_FILE)
"""JSON files of a run folder that are no records."""

CHUNK_SETTINGS_FILE = "settings.json"
"""The settings of an attack whose finished chunks lie beside it."""

CERTIFICATE_SETTINGS_FILE = "certificates.json"
"""The settings of a certification whose finished chunks lie beside it."""

VERB_FILE = "verb"
"""Says, in the folder of what is unfinished, which verb's run it is, and the hashes of its model's files."""

REPORT_FILE = "report.html"

UNFINISHED = "unfinished"
"""Where a run folder keeps the state of a run that may be cut off, until its record is whole."""

CHECKPOINTS = "checkpoints"
"""Where a drill keeps the state of a training."""

MODELS = "models"
PICTURES = "pictures"

ADVERSARIAL_FILE = "adversarial.safetensors"
"""The adversarial examples that an attack found; they are changed inputs of the user."""
